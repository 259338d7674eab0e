/** The calls that show pools with their backends, and that drain and enable a backend. */
import * as z from 'zod';
import { backendUrl } from '../../contract/addresses.ts';
import { BACKEND_STATES, backendKey } from '../../contract/health.ts';
import { backendsInFlight } from '../metrics/gauges.ts';
import { type AdminApp, call } from './app.ts';
import { listOf } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem } from './problems.ts';

const count = z.int().min(0);

/** These two leave out what else the registry knows. */
const lastProbeView = z.object({
  at: z.iso.datetime(),
  ok: z.boolean(),
  durationMs: z.number().min(0),
  detail: z.string(),
});
const backendView = z.object({
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
      async ({ params: { pool, id } }) => {
        parts.registry.setEnabled(pool, id, operation === 'enable');
        const views = poolViews(parts).find((each) => each.pool === pool)?.backends;
        const view = views?.find((each) => each.id === id);
        if (view === undefined) throw new HttpProblem(404, 'there is no such pool or no such backend in it');
        return view;
      },
    );
  }
}

/** In the order of the configuration. */
function poolViews({ registry, supervisor, reloader }: AdminParts): z.infer<typeof poolView>[] {
  const counts = backendsInFlight(supervisor);
  return reloader.current.settings.pools.map(({ name, balance, backends }) => ({
    pool: name,
    balance,
    backends: backends.flatMap(({ id, weight, backup, ...address }) => {
      const known = registry.state(name, id);
      if (known === null) return [];
      const { lastProbe, ejectedUntilMs } = known;
      const url = backendUrl(address);
      const ejectedUntil = ejectedUntilMs === null ? null : new Date(ejectedUntilMs).toISOString();
      const inFlight = counts.get(backendKey(name, id)) ?? 0;
      const probeView = lastProbe && { ...lastProbe, at: new Date(lastProbe.atMs).toISOString() };
      return [{ ...known, id, url, weight, backup, ejectedUntil, lastProbe: probeView, inFlight }];
    }),
  }));
}
