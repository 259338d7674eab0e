/**
 * The two ways out of a process: the application log (pino) and the access log (whole lines, written so that several
 * workers can share one pipe). Both go to standard output.
 */
import { type Logger as PinoLogger, pino } from 'pino';
import { PinoPretty } from 'pino-pretty';
import type { LogSettings } from '../contract/settings.ts';

export type Logger = PinoLogger;

/** Destination descriptor of both logs. */
const STDOUT_FD = 1;

/**
 * makeLogger builds the application log of a process; composition roots call it and hand children down. Lines are
 * written synchronously: they are few, and the last one before an exit matters most.
 */
export function makeLogger(settings: Pick<LogSettings, 'level' | 'format'>, fields: object = {}): Logger {
  const options = {
    level: settings.level,
    base: { pid: process.pid, ...fields },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  if (settings.format === 'pretty') {
    return pino(options, PinoPretty({ colorize: process.stdout.isTTY, ignore: 'pid', sync: true }));
  }
  const destination = pino.destination({ fd: STDOUT_FD, sync: true });
  // A reader that went away (EPIPE) must not take the process with it, and there is nowhere left to say so.
  destination.on('error', ignoreClosedOutput);
  return pino(options, destination);
}

/**
 * Writes up to this size never interleave on a pipe (PIPE_BUF on Linux, pipe(7)); lines are kept below it and a write
 * holds whole lines only.
 */
export const ATOMIC_WRITE_BYTES = 4096;
/** Lines wait for company up to this many bytes … */
const BATCH_BYTES = 3072;
/** … or this long. */
const FLUSH_EVERY_MS = 200;
/** Lines that a stalled reader may leave in memory; further ones are dropped and counted. */
const BUFFER_BYTES = 4 * 1024 * 1024;

/** LineWriter is the access log's way out of a worker: batched, bounded, never blocking the event loop. */
export class LineWriter {
  #dropped = 0;
  readonly #out: ReturnType<typeof pino.destination>;

  constructor(fd: number = STDOUT_FD) {
    this.#out = pino.destination({
      fd,
      sync: false,
      minLength: BATCH_BYTES,
      maxWrite: ATOMIC_WRITE_BYTES,
      maxLength: BUFFER_BYTES,
      periodicFlush: FLUSH_EVERY_MS,
    });
    this.#out.on('drop', () => {
      this.#dropped++;
    });
    this.#out.on('error', () => {
      this.#dropped++;
    });
  }

  /** write takes one line of at most ATOMIC_WRITE_BYTES bytes with its newline. */
  write(line: string): void {
    this.#out.write(line);
  }

  /** Lines lost to a reader that stalled or went away. */
  get droppedCount(): number {
    return this.#dropped;
  }

  /** flushSync is for the last moments of a process. */
  flushSync(): void {
    try {
      this.#out.flushSync();
    } catch {
      // The output is gone or full; at the end of a process there is nobody to tell.
      this.#dropped++;
    }
  }
}

function ignoreClosedOutput(): void {
  // Nothing to do: see the call.
}
