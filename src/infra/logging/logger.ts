/** The application log of a process: pino over a LineWriter, so that no reader of it can stop the process. */
import { type Logger as PinoLogger, pino } from 'pino';
import { LbError, systemCodeOf } from '../../contract/errors.ts';
import type { LogSettings } from '../../contract/settings.ts';
import { APPLICATION_LINES, LineWriter } from './line-writer.ts';
import { prettyLines } from './pretty.ts';

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
    lines.write(line);
  };
  if (format !== 'pretty') return pino(options, { write });
  const { application } = prettyLines();
  return pino(options, { write: (line: string) => write(application(line)) });
}

/** describeError leaves out the stack of what is known to happen: it would bury the sentence. */
function describeError(error: unknown): unknown {
  const described: unknown = pino.stdSerializers.err(error as Error);
  if (!isExpected(error) || typeof described !== 'object' || described === null) return described;
  return { ...described, stack: undefined };
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
 * attachLog gives the log of a process what else there is to tell: warnings of node, which by itself writes them to standard
 * error and waits for its reader, and how many lines were lost, once the output takes lines again.
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
  if (format !== 'pretty') return out;
  const { access } = prettyLines();
  return { write: (line) => out.write(access(line)) };
}
