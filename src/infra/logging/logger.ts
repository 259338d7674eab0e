/** The application log of a process: pino over a LineWriter, so that no reader of it can stop the process. */
import { type Logger as PinoLogger, pino } from 'pino';
import { LbError, systemCodeOf } from '../../contract/errors.ts';
import type { LogSettings } from '../../contract/settings.ts';
import { boundedLine } from './bounded-line.ts';
import { APPLICATION_LINES, LineWriter } from './line-writer.ts';
import { prettyLine } from './pretty.ts';

export type Logger = PinoLogger;

interface LoggerOptions {
  /** Facts of every line. */
  fields?: object;
  /** Default: a writer of its own to standard output, made with the first line. */
  out?: Pick<LineWriter, 'write'>;
}

/** makeLogger builds the application log of a process; composition roots call it and hand children down. */
export function makeLogger(
  { level, format }: Pick<LogSettings, 'level' | 'format'>,
  { fields = {}, out }: LoggerOptions = {},
): Logger {
  const options = {
    level,
    base: { pid: process.pid, ...fields },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  };
  let lines = out;
  const write = (line: string): void => {
    lines ??= new LineWriter(APPLICATION_LINES);
    const bounded = boundedLine(line);
    lines.write(format === 'pretty' ? prettyLine(bounded) : bounded);
  };
  return pino(options, { write });
}

/** An expected error is logged without its stack, which would bury the sentence. */
function describeError(error: Error): object {
  const described = pino.stdSerializers.err(error);
  return isExpected(error) ? { ...described, stack: undefined } : described;
}

/** Our own errors but for faults, and the system's (ECONNREFUSED). Codes of node's own begin with ERR_ and mean a fault. */
function isExpected(error: unknown): boolean {
  if (error instanceof LbError) return error.code !== 'internal_error';
  return /^E[A-Z0-9]+$/.test(systemCodeOf(error) ?? '');
}

interface Writers {
  application: LineWriter;
  /** Only workers have one. */
  access?: LineWriter;
}

/**
 * attachLog sends two further things to the log of a process: node's warnings, which node would write to standard error
 * while it waits for the reader; and the number of lost lines, once the output takes lines again.
 */
export function attachLog(logger: Logger, { application, access }: Writers): void {
  process.removeAllListeners('warning');
  process.on('warning', (warning) => logger.warn({ err: warning }, 'warning of Node.js'));
  const tell = (kind: keyof Writers, lines: number): void =>
    logger.warn({ kind, lines }, `${lines} log lines dropped`);
  application.onDropsOver = (lines) => tell('application', lines);
  if (access !== undefined) access.onDropsOver = (lines) => tell('access', lines);
}

/** accessLogOf is where a worker's access lines go, which are made as JSON. */
export function accessLogOf(format: LogSettings['format'], out: LineWriter): Pick<LineWriter, 'write'> {
  return format === 'pretty' ? { write: (line) => out.write(prettyLine(line)) } : out;
}
