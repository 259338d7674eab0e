/** Who hears of changes of health: the event log, the workers, and the file for the next primary. */
import type { BackendState } from '../../contract/health.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { EventLog } from '../events/event-log.ts';
import { inWords } from '../status/problems.ts';
import type { HealthFile } from './health-file.ts';
import type { HealthChange, HealthRegistry } from './health-registry.ts';
import type { PanicView } from './panic.ts';

/** tellHealth is called once by BackendHealth, before the registry is configured. @param broadcast sends to all workers */
export function tellHealth(
  registry: HealthRegistry,
  events: Pick<EventLog, 'record'>,
  broadcast: (message: PrimaryMessage) => void,
  file: Pick<HealthFile, 'note'>,
): void {
  registry.onPanic((pool, view) => recordPanic(events, pool, view));
  registry.onChange((change) => {
    recordChange(events, change);
    file.note();
    const { states, panics } = change.changed;
    if (states.length + panics.length > 0) broadcast({ type: 'backends', states, panics });
  });
}

const STATES_IN_WORDS: Readonly<Record<BackendState['state'], string>> = {
  up: 'is up',
  down: 'is down',
  ejected: 'is ejected',
  draining: 'takes no new requests',
  unknown: 'is not known yet',
};

function recordChange(events: Pick<EventLog, 'record'>, { state, cause }: HealthChange): void {
  const { pool, backend, health, enabled, reason, lastProbe, ejectedUntilMs: untilMs } = state;
  const isBad = state.state === 'down' || state.state === 'ejected' || cause === 'resolver';
  const ejectedUntil = untilMs === null ? {} : { ejectedUntil: new Date(untilMs).toISOString() };
  const resolverError = cause === 'resolver' ? { resolverError: lastProbe?.resolverError ?? null } : {};
  const facts = { pool, backend, state: state.state, health, enabled, reason, cause, ...ejectedUntil };
  const why = cause === 'resolver' ? (lastProbe?.resolverError ?? 'its name resolves again') : reason;
  const words = STATES_IN_WORDS[state.state];
  const text = `backend ${backend} of pool ${pool} ${words}${why === null ? '' : `: ${inWords(why)}`}`;
  events.record(
    {
      kind: 'backend_state',
      severity: isBad ? 'warning' : 'info',
      text,
      subject: `${pool}/${backend}`,
      data: { ...facts, ...resolverError },
    },
    { line: 'backend state changed' },
  );
}

function recordPanic(
  events: Pick<EventLog, 'record'>,
  pool: string,
  { panic, healthy, known: backends }: PanicView,
): void {
  const about = { kind: 'panic', subject: pool, data: { pool, healthy, backends } } as const;
  if (panic === 'no') {
    const line = 'panic is over: only healthy backends are used';
    events.record({ ...about, severity: 'info', text: `pool ${pool}: ${line}` }, { line });
    return;
  }
  const line = 'panic: too few backends are healthy, so those that are down are used too';
  events.record({ ...about, severity: 'warning', text: `pool ${pool}: ${line}` }, { line });
}
