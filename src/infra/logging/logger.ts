/** The application log of a process: pino over a LineWriter, so that no reader of it can stop the process. */
import { type Logger as PinoLogger, pino } from 'pino';
import { LbError, systemCodeOf } from '../../contract/errors.ts';
import type { LogSettings } from '../../contract/settings.ts';
import { ecsLine } from './ecs.ts';
import { LINE_BYTES, UTF8_BYTES } from './line-sink.ts';
import { APPLICATION_LINES, LineWriter } from './line-writer.ts';
import { prettyLine } from './pretty.ts';

export type Logger = PinoLogger;

/**
 * makeLogger builds the application log of a process; composition roots call it and hand children down.
 * @param options fields: facts of every line; out: default a writer to standard output, made with the first line
 */
export function makeLogger(
  { level, format }: Pick<LogSettings, 'level' | 'format'>,
  { fields = {}, out }: { fields?: object; out?: Pick<LineWriter, 'write'> } = {},
): Logger {
  const options = {
    level,
    base: { pid: process.pid, ...fields },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  };
  const shape = shapeOf(format, true);
  let lines = out;
  const write = (line: string): void => {
    lines ??= new LineWriter(APPLICATION_LINES);
    const bounded = boundedLine(line);
    lines.write(shape === null ? bounded : shape(bounded));
  };
  return pino(options, { write });
}

/**
 * shapeOf is what a format makes of the lines of the application log; null: they stay as they are.
 * @param toStdout they may go to a terminal, which has colours
 */
export function shapeOf(format: LogSettings['format'], toStdout: boolean): ((line: string) => string) | null {
  if (format === 'json') return null;
  return format === 'pretty' ? (line) => prettyLine(line, toStdout) : (line) => boundedLine(ecsLine(line));
}

/** An expected error is logged without its stack, which would bury the sentence. */
function describeError(error: Error | null): object | null {
  if (error === null) return null;
  const described = pino.stdSerializers.err(error);
  // Most of our sentences hold that of the cause, which pino has added once more.
  if (error.cause instanceof Error && error.message.includes(error.cause.message))
    described.message = error.message;
  return isExpected(error) ? { ...described, stack: undefined } : described;
}

/** Our own errors except faults, and the system's (ECONNREFUSED). Codes of node's own begin with ERR_ and mean a fault. */
function isExpected(error: unknown): boolean {
  if (error instanceof LbError) return error.code !== 'internal_error';
  return /^E[A-Z0-9]+$/.test(systemCodeOf(error) ?? '');
}

/** Where texts are cut to n characters, lists are cut to n / 32 items. */
const CHARACTERS_PER_ITEM = 32;

/**
 * boundedLine returns a JSON line as it is, or with its long texts (stacks) and lists cut until it fits: a line of more than 4,000
 * bytes could mix with lines of other processes on a pipe.
 */
export function boundedLine(line: string): string {
  if (line.length * UTF8_BYTES <= LINE_BYTES || Buffer.byteLength(line) <= LINE_BYTES) return line;
  const event: unknown = JSON.parse(line);
  let cut = line;
  for (let room = LINE_BYTES / 2; room >= 1 && Buffer.byteLength(cut) > LINE_BYTES; room /= 2) {
    cut = `${JSON.stringify(event, (_key, value) => cutValue(value, room))}\n`;
  }
  return cut;
}

function cutValue(value: unknown, room: number): unknown {
  if (typeof value === 'string' && value.length > room) return `${value.slice(0, room)}…`;
  const items = room / CHARACTERS_PER_ITEM;
  return Array.isArray(value) && value.length > items ? [...value.slice(0, items), '…'] : value;
}

/** warnInto sends node's warnings to the log: node would write them to standard error, blocking until somebody reads. */
export function warnInto(logger: Logger): void {
  process.removeAllListeners('warning');
  process.on('warning', (warning) => logger.warn({ err: warning }, 'warning of Node.js'));
}
