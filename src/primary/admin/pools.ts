/** The calls that show pools with their backends, and that drain and enable a backend. */
import type { FastifyRequest } from 'fastify';
import * as z from 'zod';
import { backendUrl } from '../../contract/addresses.ts';
import { backendKey, type ProbeResult } from '../../contract/health.ts';
import { type BackendView, backendView, type PoolView, poolView } from '../../contract/pool-view.ts';
import { atMost } from '../../infra/with-deadline.ts';
import { backendsInFlight } from '../metrics/gauges.ts';
import { type AdminApp, call } from './app.ts';
import { listOf } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem } from './problems.ts';

const params = z.strictObject({ pool: z.string(), id: z.string() });
const force = z.enum(['true', 'false']).default('false').meta({
  description: 'true: also the last backend of its pool that takes requests, or the last healthy one',
});
const DRAIN =
  'Send a backend no new requests until it is enabled again. 409 with `code` `last_backend` where its pool has no other one';

/** registerPools adds the routes. */
export function registerPools(app: AdminApp, parts: AdminParts): void {
  app.get(
    '/api/v1/pools',
    call('pools', 'Backends with their state', [], { response: { 200: listOf(poolView) } }),
    async () => ({ items: poolViews(parts), next: null }),
  );
  const path = '/api/v1/pools/:pool/backends/:id';
  const response = { 200: backendView };
  app.post(
    `${path}/drain`,
    call('pools', DRAIN, [404, 409, 422], { params, querystring: z.strictObject({ force }), response }),
    async (request) => {
      if (request.query.force === 'false') refuseLast(parts, request.params);
      return setEnabled(parts, request, false);
    },
  );
  app.post(
    `${path}/enable`,
    call('pools', 'Send a drained backend new requests again', [404], { params, response }),
    async (request) => setEnabled(parts, request, true),
  );
}

/** Throws HttpProblem 409 for a backend without which clients would get errors. */
function refuseLast({ registry }: AdminParts, { pool, id }: z.infer<typeof params>): void {
  const loss = registry.lossOf(pool, id);
  if (loss === null) return;
  const [what, rest] =
    loss === 'all'
      ? ['that takes requests', 'get 503']
      : ['that is healthy', 'go to backends that are down or ejected'];
  const detail = `backend ${id} is the last one of pool ${pool} ${what}: without it, requests ${rest}`;
  throw new HttpProblem(409, detail, { code: 'last_backend' });
}

/** How long an answer waits for the disk: the change is in force before. */
const SAVE_MS = 1_000;

/** Resolves once a primary that is killed now would pass it on, or after SAVE_MS. */
async function setEnabled(
  parts: AdminParts,
  request: FastifyRequest & { params: z.infer<typeof params> },
  enabled: boolean,
): Promise<BackendView> {
  const { pool, id } = request.params;
  const isEnabled = parts.registry.state(pool, id)?.enabled ?? null;
  if (parts.registry.setEnabled(pool, id, enabled) !== null) {
    request.changed({
      text: `${enabled ? 'enable' : 'drain'} of backend ${id} of pool ${pool}`,
      subject: `${pool}/${id}`,
      before: { enabled: isEnabled },
      after: { enabled },
    });
    await atMost(parts.health.save(), SAVE_MS);
  }
  const pools = poolViews(parts);
  const views = pools.find((each) => each.pool === pool)?.backends;
  const view = views?.find((each) => each.id === id);
  if (view !== undefined) return view;
  const known =
    views === undefined
      ? `there is no such pool: ${someOf(
          'the pools are',
          pools.map((each) => each.pool),
        )}`
      : `the pool has no such backend: ${someOf(
          'it has',
          views.map((each) => each.id),
        )}`;
  throw new HttpProblem(404, known);
}

const MOST_NAMES = 10;

/** @param verb what comes before the names */
function someOf(verb: string, names: readonly string[]): string {
  if (names.length === 0) return 'there are none';
  const more = names.length > MOST_NAMES ? `, and ${names.length - MOST_NAMES} more` : '';
  return `${verb} ${names.slice(0, MOST_NAMES).join(', ')}${more}`;
}

/** poolViews are in the order of the configuration. */
export function poolViews({ registry, supervisor, reloader, board }: AdminParts): PoolView[] {
  const counts = backendsInFlight(supervisor);
  return reloader.current.settings.pools.map(({ name, balance, backends }) => ({
    pool: name,
    balance,
    queueRefusedPerSec: board.queueRefusedPerSec(name),
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

function probeViewOf({ atMs, ok, durationMs, detail }: ProbeResult): BackendView['lastProbe'] {
  return { at: new Date(atMs).toISOString(), ok, durationMs, detail };
}
