/** The call that shows the worker processes. */
import * as z from 'zod';
import { systemClock } from '../../contract/clock.ts';
import { type AdminApp, call } from './app.ts';
import { listOf } from './paging.ts';
import type { AdminParts } from './parts.ts';

const count = z.int().min(0);

const workerView = z.strictObject({
  id: count.meta({ description: 'Number of the worker slot; the replacement of a worker has the same' }),
  pid: count,
  state: z.enum(['starting', 'serving', 'draining']),
  uptimeSec: z.number().min(0),
  revision: count.nullable().meta({ description: 'Revision of the settings that it runs; null: none yet' }),
  connections: count,
  requestsTotal: count,
  inFlight: count,
  loopDelayMs: z.number().min(0).meta({ description: 'Longest delay of the event loop in the last second' }),
});

/** registerWorkers adds the route. */
export function registerWorkers(app: AdminApp, { supervisor }: AdminParts): void {
  app.get(
    '/api/v1/workers',
    call('workers', 'Worker processes with their load', [], { response: { 200: listOf(workerView) } }),
    async () => ({ items: workerViews(supervisor), next: null }),
  );
}

function workerViews(supervisor: AdminParts['supervisor']): z.infer<typeof workerView>[] {
  const nowMs = systemClock.wallMs();
  return supervisor.workers().flatMap(({ index, state, pid, startedAtMs, revision, report }) => {
    if (state === 'dead' || pid === null) return [];
    const uptimeSec = Math.max(0, Math.round((nowMs - (startedAtMs ?? nowMs)) / 1000));
    const { connections = 0, requestsTotal = 0, inFlight = 0, loopDelayMaxMs = 0 } = report ?? {};
    const load = { connections, requestsTotal, inFlight, loopDelayMs: loopDelayMaxMs };
    return [{ id: index, pid, state, uptimeSec, revision, ...load }];
  });
}
