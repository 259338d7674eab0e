/** The calls that show pools with their backends, and that drain and enable a backend. */
import * as z from 'zod';
import { backendUrl } from '../../contract/addresses.ts';
import { BACKEND_STATES, backendKey, type ProbeResult } from '../../contract/health.ts';
import { backendsInFlight } from '../metrics/gauges.ts';
import { type AdminApp, call } from './app.ts';
import { listOf } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem } from './problems.ts';

const count = z.int().min(0);

const lastProbeView = z.strictObject({
  at: z.iso.datetime(),
  ok: z.boolean(),
  durationMs: z.number().min(0),
  detail: z.string(),
});
const backendView = z.strictObject({
  id: z.string(),
  url: z.string(),
  weight: z.int().min(0),
  backup: z.boolean(),
  state: z.enum(BACKEND_STATES),
  reason: z
    .string()
    .nullable()
    .meta({ description: 'Why it is in this state; null: it has not changed yet' }),
  enabled: z.boolean().meta({ description: 'false: an operator has drained it' }),
  ejectedUntil: z.iso.datetime().nullable().meta({ description: 'null: it is not ejected' }),
  lastProbe: lastProbeView.nullable(),
  consecutivePasses: count,
  consecutiveFailures: count,
  inFlight: count,
  requestsPerSec: z.number().min(0).meta({ description: 'Attempts, mean of the last ten seconds' }),
  p99Ms: z
    .number()
    .nullable()
    .meta({ description: 'Until the head of the answer, in the last ten seconds; null: none came' }),
  share: z
    .number()
    .nullable()
    .meta({ description: 'Of the attempts at its pool in that time, 0 to 1; null: there were none' }),
});
const poolView = z.strictObject({ pool: z.string(), balance: z.string(), backends: z.array(backendView) });

const OPERATIONS = {
  drain: 'Send a backend no new requests until it is enabled again',
  enable: 'Send a drained backend new requests again',
};

/** registerPools adds the routes. */
export function registerPools(app: AdminApp, parts: AdminParts): void {
  app.get(
    '/api/v1/pools',
    call('pools', 'Backends with their state', [], { response: { 200: listOf(poolView) } }),
    async () => ({ items: poolViews(parts), next: null }),
  );
  const params = z.strictObject({ pool: z.string(), id: z.string() });
  for (const [operation, summary] of Object.entries(OPERATIONS)) {
    app.post(
      `/api/v1/pools/:pool/backends/:id/${operation}`,
      call('pools', summary, [404], { params, response: { 200: backendView } }),
      async (request) => {
        const { pool, id } = request.params;
        const isEnabled = parts.registry.state(pool, id)?.enabled ?? null;
        parts.registry.setEnabled(pool, id, operation === 'enable');
        request.change = {
          text: `${operation} of backend ${id} of pool ${pool}`,
          subject: `${pool}/${id}`,
          before: { enabled: isEnabled },
          after: { enabled: operation === 'enable' },
        };
        const views = poolViews(parts).find((each) => each.pool === pool)?.backends;
        const view = views?.find((each) => each.id === id);
        if (view === undefined) throw new HttpProblem(404, 'there is no such pool or no such backend in it');
        return view;
      },
    );
  }
}

/** poolViews are in the order of the configuration. */
export function poolViews({ registry, supervisor, reloader, board }: AdminParts): z.infer<typeof poolView>[] {
  const counts = backendsInFlight(supervisor);
  return reloader.current.settings.pools.map(({ name, balance, backends }) => ({
    pool: name,
    balance,
    backends: backends.flatMap(({ id, weight, backup, ...address }) => {
      const known = registry.state(name, id);
      if (known === null) return [];
      const { state, reason, enabled, consecutivePasses, consecutiveFailures } = known;
      return {
        ...{ id, url: backendUrl(address), weight, backup, state, reason, enabled },
        ejectedUntil: known.ejectedUntilMs === null ? null : new Date(known.ejectedUntilMs).toISOString(),
        lastProbe: known.lastProbe && probeViewOf(known.lastProbe),
        ...{ consecutivePasses, consecutiveFailures },
        inFlight: counts.get(backendKey(name, id)) ?? 0,
        ...board.backend(name, id),
      };
    }),
  }));
}

function probeViewOf({ atMs, ok, durationMs, detail }: ProbeResult): z.infer<typeof lastProbeView> {
  return { at: new Date(atMs).toISOString(), ok, durationMs, detail };
}
