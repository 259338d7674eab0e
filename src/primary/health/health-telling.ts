/** Who hears of changes of health: the application log, the workers, and the file for the next primary. */
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { HealthFile } from './health-file.ts';
import type { HealthChange, HealthRegistry } from './health-registry.ts';
import type { PanicView } from './panic.ts';

/** tellHealth is called once by BackendHealth, before the registry is configured. @param broadcast sends to all workers */
export function tellHealth(
  registry: HealthRegistry,
  logger: Logger,
  broadcast: (message: PrimaryMessage) => void,
  file: Pick<HealthFile, 'note'>,
): void {
  registry.onPanic((pool, view) => logPanic(logger, pool, view));
  registry.onChange((change) => {
    logChange(logger, change);
    file.note();
    const { states, panics } = change.changed;
    if (states.length + panics.length > 0) broadcast({ type: 'backends', states, panics });
  });
}

function logChange(logger: Logger, { state, cause }: HealthChange): void {
  const { pool, backend, health, enabled, reason, lastProbe, ejectedUntilMs: untilMs } = state;
  const isBad = state.state === 'down' || state.state === 'ejected' || cause === 'resolver';
  const ejectedUntil = untilMs === null ? {} : { ejectedUntil: new Date(untilMs).toISOString() };
  const resolverError = cause === 'resolver' ? { resolverError: lastProbe?.resolverError ?? null } : {};
  const facts = { pool, backend, state: state.state, health, enabled, reason, cause, ...ejectedUntil };
  logger[isBad ? 'warn' : 'info']({ ...facts, ...resolverError }, 'backend state changed');
}

function logPanic(logger: Logger, pool: string, { panic, healthy, known: backends }: PanicView): void {
  const facts = { pool, healthy, backends };
  if (panic === 'no') logger.info(facts, 'panic is over: only healthy backends are used');
  else logger.warn(facts, 'panic: too few backends are healthy, so those that are down are used too');
}
