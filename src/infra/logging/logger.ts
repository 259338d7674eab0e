/**
 * The two ways out of a process: the application log (pino) and the access log (whole lines, written so that several
 * workers can share one pipe). Both go to standard output.
 */
import { write, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Logger as PinoLogger, pino } from 'pino';
import { systemCodeOf } from '../../contract/errors.ts';
import type { LogSettings } from '../../contract/settings.ts';
import { LineBatch } from './line-batch.ts';
import { type LineSink, openLineSink } from './line-sink.ts';

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
    // Loaded where it is asked for: it takes a few MiB.
    const { PinoPretty } = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
    return pino(options, PinoPretty({ colorize: process.stdout.isTTY, ignore: 'pid', sync: true }));
  }
  const destination = pino.destination({ fd: STDOUT_FD, sync: true });
  // A reader that went away (EPIPE) must not take the process with it, and there is nowhere left to say so.
  destination.on('error', ignoreClosedOutput);
  return pino(options, destination);
}

/** Lines wait for company until their batch is full or for this long. */
const FLUSH_EVERY_MS = 200;
/** Lines that a stalled reader may leave in memory; further ones are dropped and counted. */
const BUFFER_BYTES = 4 * 1024 * 1024;
/** Pauses before an output that takes nothing is tried again: doubled from the first to the last. */
const FIRST_RETRY_MS = 1;
const LAST_RETRY_MS = 64;
/** What the last lines of a process wait for a full output, in all: a worker has 2 s to exit. */
const LAST_WAIT_MS = 1_000;
const LAST_PAUSE_MS = 10;
/** The output is full, for now. */
const TRANSIENT: ReadonlySet<string | null> = new Set(['EAGAIN', 'EBUSY', 'ENOSPC', 'EDQUOT']);

/**
 * LineWriter is the access log's way out of a worker: batched, bounded, never blocking the event loop. A line costs it
 * 1 to 2 µs; pino's own destination, which measures a batch anew with each line and writes every 4 KiB in the thread
 * pool, took 7.
 */
export class LineWriter {
  readonly #sink: LineSink;
  /** Batches to be written, the oldest first. */
  readonly #queue: LineBatch[] = [];
  readonly #queueLimit: number;
  #filling: LineBatch;
  #spare: LineBatch | null = null;
  /** A write is under way, or the next one waits for its time. */
  #busy = false;
  /** What the write under way takes from the oldest batch. */
  #inFlightBytes = 0;
  #flushTimer: NodeJS.Timeout | null = null;
  #retryMs = FIRST_RETRY_MS;
  #dropped = 0;

  constructor(fd: number = STDOUT_FD) {
    this.#sink = openLineSink(fd);
    this.#queueLimit = Math.floor(BUFFER_BYTES / this.#sink.batchBytes) - 1;
    this.#filling = new LineBatch(this.#sink.batchBytes);
  }

  /** write takes one line of at most ATOMIC_WRITE_BYTES bytes with its newline. */
  write(line: string): void {
    if (this.#filling.isFull && !this.#ship()) this.#dropped++;
    else if (!this.#filling.add(line)) this.#dropped++;
    else if (this.#filling.isFull) this.#ship();
    else if (this.#flushTimer === null) this.#flushSoon();
  }

  /** Lines lost to a reader that stalled or went away; the worker tells it as a metric. */
  get droppedCount(): number {
    return this.#dropped;
  }

  /**
   * flushSync is for the last moments of a process. It waits a second for a stalled reader of a pipe, for one of
   * a socket as long as that takes; what the thread pool has in hand is written before the process is gone.
   */
  flushSync(): void {
    this.#queue[0]?.advance(this.#inFlightBytes);
    this.#inFlightBytes = 0;
    const deadlineMs = performance.now() + LAST_WAIT_MS;
    for (const batch of [...this.#queue.splice(0), this.#filling]) {
      while (!batch.isEmpty) {
        const failure = this.#writeSync(batch);
        if (failure === null) continue;
        const isHopeless = !TRANSIENT.has(systemCodeOf(failure)) || performance.now() >= deadlineMs;
        if (isHopeless) this.#dropped += batch.clear();
        else Atomics.wait(NEVER_WOKEN, 0, 0, LAST_PAUSE_MS);
      }
    }
  }

  #flushSoon(): void {
    this.#flushTimer = setTimeout(() => {
      this.#flushTimer = null;
      // Behind others it may as well go on filling: a stalled reader is to be left full batches.
      if (this.#queue.length > 0) this.#flushSoon();
      else this.#ship();
    }, FLUSH_EVERY_MS).unref();
  }

  /** @returns false when there is no room for another batch */
  #ship(): boolean {
    const hasRoom = this.#enqueue();
    this.#pump();
    return hasRoom;
  }

  #enqueue(): boolean {
    if (this.#queue.length >= this.#queueLimit) return false;
    if (this.#filling.isEmpty) return true;
    this.#queue.push(this.#filling);
    this.#filling = this.#spare ?? new LineBatch(this.#sink.batchBytes);
    this.#spare = null;
    return true;
  }

  #pump(): void {
    const [batch] = this.#queue;
    if (batch === undefined || this.#busy) return;
    this.#busy = true;
    if (this.#sink.nonBlocking) this.#writeNow(batch);
    else this.#writeInPool(batch);
  }

  #writeNow(batch: LineBatch): void {
    let failure: unknown = null;
    while (failure === null && !batch.isEmpty) failure = this.#writeSync(batch);
    this.#settle(batch, failure);
  }

  #writeInPool(batch: LineBatch): void {
    const { fd, writeBytes } = this.#sink;
    this.#inFlightBytes = batch.nextBytes(writeBytes);
    write(fd, batch.buffer, batch.start, this.#inFlightBytes, null, (failure, bytes) => {
      this.#inFlightBytes = 0;
      if (batch !== this.#queue[0]) {
        // A flushSync came between and has done the rest.
        this.#resume();
        return;
      }
      if (failure === null) this.#advance(batch, bytes);
      this.#settle(batch, failure);
    });
  }

  /** @returns what went wrong, or null */
  #writeSync(batch: LineBatch): unknown {
    const { fd, writeBytes } = this.#sink;
    try {
      this.#advance(batch, writeSync(fd, batch.buffer, batch.start, batch.nextBytes(writeBytes), null));
      return null;
    } catch (thrown) {
      return thrown;
    }
  }

  #advance(batch: LineBatch, bytes: number): void {
    batch.advance(bytes);
    this.#retryMs = FIRST_RETRY_MS;
  }

  /** Ends a turn of writing: at most one batch, so that other events come between. */
  #settle(batch: LineBatch, failure: unknown): void {
    if (failure !== null && TRANSIENT.has(systemCodeOf(failure))) {
      setTimeout(() => this.#resume(), this.#retryMs).unref();
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
      return;
    }
    if (failure !== null) this.#dropped += batch.clear();
    if (batch.isEmpty) {
      this.#queue.shift();
      this.#spare = batch;
      if (this.#filling.isFull) this.#enqueue();
    }
    if (this.#queue.length === 0) this.#busy = false;
    else setImmediate(() => this.#resume());
  }

  #resume(): void {
    this.#busy = false;
    this.#pump();
  }
}

const NEVER_WOKEN = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

function ignoreClosedOutput(): void {
  // Nothing to do: see the call.
}
