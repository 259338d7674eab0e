/** The calls that show pools with their backends, and that drain and enable a backend. */
import * as z from 'zod';
import { hostPort } from '../../contract/addresses.ts';
import { type AdminApp, listOf, problemResponses } from './app.ts';
import { HttpProblem } from './problems.ts';
import type { AdminServices, BackendStatus, PoolStatus } from './services.ts';

const count = z.int().min(0);

const backendView = z.strictObject({
  id: z.string(),
  url: z.string(),
  weight: z.int().min(1),
  state: z.enum(['up', 'down', 'unknown', 'draining']),
  reason: z.string().nullable().meta({ description: 'Why it is in this state; null: it has always been' }),
  enabled: z.boolean().meta({ description: 'false: taken out by an operator' }),
  lastProbe: z
    .strictObject({
      at: z.iso.datetime(),
      ok: z.boolean(),
      durationMs: z.number().min(0),
      detail: z.string(),
    })
    .nullable(),
  consecutivePasses: count,
  consecutiveFailures: count,
  inFlight: count,
});
const poolView = z.strictObject({
  pool: z.string(),
  balance: z.string(),
  backends: z.array(backendView),
});
const backendParams = z.strictObject({ pool: z.string(), id: z.string() });

const tags = ['pools'];

/** registerPools adds the routes; the server calls it once while it is built. */
export function registerPools(app: AdminApp, services: AdminServices): void {
  app.get('/api/v1/pools', {
    schema: {
      tags,
      summary: 'Backends with their state',
      response: { 200: listOf(poolView), ...problemResponses() },
    },
    handler: async (_request, reply) =>
      reply.code(200).send({ items: services.pools().map(poolViewOf), next: null }),
  });
  registerOperation(app, services, 'drain');
  registerOperation(app, services, 'enable');
}

const SUMMARIES = {
  drain: 'Send a backend no new requests until it is enabled again',
  enable: 'Put a drained backend back',
};

function registerOperation(app: AdminApp, services: AdminServices, operation: 'drain' | 'enable'): void {
  app.post(`/api/v1/pools/:pool/backends/:id/${operation}`, {
    schema: {
      tags,
      summary: SUMMARIES[operation],
      params: backendParams,
      response: { 200: backendView, ...problemResponses(404) },
    },
    handler: async ({ params }, reply) => {
      const apply = operation === 'drain' ? services.drainBackend : services.enableBackend;
      const status = await apply.call(services, params.pool, params.id);
      if (status === null) throw new HttpProblem(404, 'there is no such pool or no such backend in it');
      return reply.code(200).send(backendViewOf(status, isProbed(services, params.pool)));
    },
  });
}

function isProbed(services: AdminServices, pool: string): boolean {
  const found = services.pools().find(({ settings }) => settings.name === pool);
  return found !== undefined && found.settings.healthCheck !== null;
}

function poolViewOf({ settings, backends }: PoolStatus): z.infer<typeof poolView> {
  const probed = settings.healthCheck !== null;
  return {
    pool: settings.name,
    balance: settings.balance,
    backends: backends.map((status) => backendViewOf(status, probed)),
  };
}

/** Without probes a backend gets traffic from the start and its health stays unknown; that is shown as up. */
function backendViewOf(
  { settings, state, inFlight }: BackendStatus,
  probed: boolean,
): z.infer<typeof backendView> {
  const health = state.health === 'unknown' && !probed ? 'up' : state.health;
  const { lastProbe } = state;
  return {
    id: settings.id,
    url: `http://${hostPort(settings.host, settings.port)}`,
    weight: settings.weight,
    state: state.enabled ? health : 'draining',
    reason: state.reason,
    enabled: state.enabled,
    lastProbe: lastProbe && {
      at: new Date(lastProbe.atMs).toISOString(),
      ok: lastProbe.ok,
      durationMs: lastProbe.durationMs,
      detail: lastProbe.detail,
    },
    consecutivePasses: state.consecutivePasses,
    consecutiveFailures: state.consecutiveFailures,
    inFlight,
  };
}
