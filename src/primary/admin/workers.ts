/** The calls that show the worker processes and replace them. */
import * as z from 'zod';
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import { OVERLOAD_LEVELS } from '../../contract/overload.ts';
import { type AdminApp, call } from './app.ts';
import { listOf } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem } from './problems.ts';

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
  overload: z
    .enum(OVERLOAD_LEVELS)
    .meta({ description: 'softened: it ends keep-alive; shedding: it also refuses new requests' }),
  overloadReason: z.string().nullable().meta({ description: 'event_loop_delay, heap or memory; null: none' }),
});

/** The first replacement has come up or failed by then: its hello and its readiness have their own deadlines. */
const RESTART_TIMEOUT_MS = 65_000;
const RESTART_SUMMARY =
  'Replace the workers one by one with the code on disk; answered once the first replacement serves';

/** registerWorkers adds the routes. */
export function registerWorkers(app: AdminApp, { supervisor, replaceWorkers, phase }: AdminParts): void {
  app.get(
    '/api/v1/workers',
    call('workers', 'Worker processes with their load', [], { response: { 200: listOf(workerView) } }),
    async () => ({ items: workerViews(supervisor), next: null }),
  );
  const response = { 202: z.strictObject({ workers: count.meta({ description: 'How many are replaced' }) }) };
  app.post(
    '/api/v1/workers/restart',
    {
      config: { timeoutMs: RESTART_TIMEOUT_MS },
      ...call('workers', RESTART_SUMMARY, [409, 500], { response }),
    },
    async (request, reply) => {
      const roll = replaceWorkers();
      if (roll === null) throw new HttpProblem(409, 'workers are being replaced already, or Sluice stops');
      const workers = supervisor.workers().filter(({ wanted }) => wanted).length;
      await roll.begun.catch((error: unknown) => {
        // A stop that comes meanwhile is nobody's failure.
        throw new HttpProblem(phase() === 'draining' ? 409 : 500, toError(error).message);
      });
      const text = `the replacement of ${workers} workers was asked for`;
      request.changed({ text, subject: 'workers' });
      return reply.code(202).send({ workers });
    },
  );
}

function workerViews(supervisor: AdminParts['supervisor']): z.infer<typeof workerView>[] {
  const nowMs = systemClock.monotonicMs();
  return supervisor.workers().flatMap(({ index, state, pid, startedAtMs, revision, report }) => {
    if (state === 'dead' || pid === null) return [];
    const uptimeSec = Math.round((nowMs - (startedAtMs ?? nowMs)) / 1000);
    const { connections = 0, requestsTotal = 0, inFlight = 0, loopDelayMaxMs = 0 } = report ?? {};
    const { overload = 'none', overloadReason = null } = report ?? {};
    const load = {
      connections,
      requestsTotal,
      inFlight,
      loopDelayMs: loopDelayMaxMs,
      overload,
      overloadReason,
    };
    return [{ id: index, pid, state, uptimeSec, revision, ...load }];
  });
}
