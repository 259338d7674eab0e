/** What a primary says of its start and its configuration: in the log, and to whoever started it on standard output and standard error. */
import type { FileProblem } from '../contract/config-file-view.ts';
import type { DataPath } from '../contract/data-path.ts';
import { LbError, toError } from '../contract/errors.ts';
import type { LogSettings } from '../contract/settings.ts';
import { sluiceVersion } from '../infra/build-info.ts';
import { APPLICATION_LINES, LineWriter } from '../infra/logging/line-writer.ts';
import { boundedLine, type Logger } from '../infra/logging/logger.ts';
import type { ProcessLog } from '../infra/logging/process-log.ts';
import { slowReason } from '../infra/wire/wire-choice.ts';

/** logWarnings writes the warnings of a configuration that is about to be used, one line each. */
export function logWarnings(logger: Logger, warnings: readonly FileProblem[]): void {
  for (const { line, path, message } of warnings) logger.warn({ line, path }, `configuration: ${message}`);
}

/** sayStart is called first of all. */
export function sayStart(
  logger: Logger,
  dataPath: DataPath,
  options: { configPath: string; env: NodeJS.ProcessEnv; warnings: readonly FileProblem[] },
): void {
  const { configPath: config, env, warnings } = options;
  logger.info({ version: sluiceVersion(), config, node: process.version, ...dataPath }, 'Sluice starts');
  logWarnings(logger, warnings);
  if (dataPath.wire === 'handle' || dataPath.engine === 'node' || env.SLUICE_WIRE) return;
  logger.warn(`connections use the slower socket wire: ${slowReason(process.version)}`);
}

/** sayReady says that everything serves. */
export function sayReady(
  logger: Logger,
  { format, file }: LogSettings,
  facts: { addresses: string[]; admin: string; workers: number },
  { wire, engine }: DataPath,
): void {
  if (format !== 'json' || file !== null) logger.info(facts, 'ready');
  // This JSON on standard output, whatever `log` says: programs wait for this line.
  new LineWriter(APPLICATION_LINES).write(
    boundedLine(`${JSON.stringify({ msg: 'ready', ...facts, wire, engine })}\n`),
  );
}

/** sayFailed says why the start failed. */
export function sayFailed(log: ProcessLog, thrown: unknown): void {
  const error = toError(thrown);
  // The message of an expected failure says it all; a stack would bury it.
  const facts = error instanceof LbError ? { code: error.code } : { err: error };
  log.logger.fatal(facts, `cannot serve: ${error.message}`);
  // Whoever started it looks there, and not into a log file.
  if (log.file !== null) process.stderr.write(`sluice: cannot serve: ${error.message}\n`);
}
