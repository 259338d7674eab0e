/**
 * Replaces the workers one after the other by processes that are started from the files of now. The replacement starts beside the
 * old worker, with its number and its sockets. Once it serves, the old one drains: its listeners close, requests under way finish,
 * tunnels are told to end. Only then comes the next, so that there is one process more than wanted at most. If a replacement does
 * not come up, the others stay as they are.
 */
import { LbError, toError } from '../../contract/errors.ts';
import type { EventLog } from '../events/event-log.ts';
import type { Fleet } from './fleet.ts';

interface RollOptions {
  fleet: Fleet;
  events: Pick<EventLog, 'record'>;
  /** false once the instance stops: nobody is replaced then. */
  isRunning: () => boolean;
  /** How long a replaced worker may take to finish. */
  drainMs: number;
  /** From the end of the drain time to SIGKILL. */
  marginMs: number;
}

const STOPS = 'Sluice stops';

/** Roll is a rolling replacement under way; neither promise ends the process when nobody waits for it. */
export interface Roll {
  /** Resolves once the first replacement serves; else rejects as `ended`. */
  begun: Promise<void>;
  /** Resolves when all are replaced and the old ones are gone. Rejects with LbError worker_gone: why it ended early. */
  ended: Promise<void>;
}

/** rollWorkers begins at once; the supervisor calls it, one at a time. */
export function rollWorkers(options: RollOptions): Roll {
  const begun = Promise.withResolvers<void>();
  const ended = replaceAll(options, begun.resolve);
  begun.promise.catch(() => undefined);
  ended.then(begun.resolve, (error: unknown) => {
    begun.reject(error);
    recordEnd(options, toError(error));
  });
  return { begun: begun.promise, ended };
}

function recordEnd({ events, isRunning }: RollOptions, err: Error): void {
  if (!isRunning()) {
    const text = `the rolling replacement of workers has ended: ${STOPS}`;
    events.record({ kind: 'worker', severity: 'info', text });
    return;
  }
  const line = 'the rolling replacement of workers has ended, the others stay';
  const text = `${line}: ${err.message}`;
  events.record({ kind: 'worker', severity: 'error', text, data: { err } }, { line });
}

async function replaceAll(
  { fleet, events, isRunning, drainMs, marginMs }: RollOptions,
  onServing: () => void,
): Promise<void> {
  for (const wanted of fleet.slots.slice()) {
    // The number of workers may have changed meanwhile.
    if (!fleet.isWanted(wanted)) continue;
    const next = fleet.makeReplacement(wanted);
    const failure = isRunning() ? await next.start() : STOPS;
    if (failure !== null) {
      fleet.forget(next);
      // A stop has killed it.
      const why = isRunning() ? failure : STOPS;
      throw new LbError('worker_gone', `worker ${next.index} was not replaced: ${why}`);
    }
    if (!fleet.isWanted(wanted)) {
      await next.shutDown({ type: 'drain', graceMs: 0, drainMs, patient: true }, drainMs + marginMs);
      fleet.forget(next);
      continue;
    }
    const old = fleet.replace(next);
    const facts = { worker: next.index, workerPid: next.view().pid, oldPid: old?.view().pid ?? null };
    const subject = `worker ${next.index}`;
    const text = `${subject} was replaced (pid ${facts.oldPid} by ${facts.workerPid})`;
    events.record(
      { kind: 'worker', severity: 'info', text, subject, data: facts },
      { line: 'worker replaced' },
    );
    onServing();
    if (old === undefined) continue;
    await old.shutDown({ type: 'drain', graceMs: 0, drainMs, patient: true }, drainMs + marginMs);
    fleet.forget(old);
  }
}
