/** What orchestrators and Prometheus ask: alive, ready, numbers. */
import * as z from 'zod';
import { type AdminApp, problemResponses } from './app.ts';
import type { AdminServices, Readiness } from './services.ts';

const livezView = z.strictObject({ status: z.literal('alive') });
const readyzView = z.strictObject({
  status: z.enum(['ready', 'starting', 'draining']),
  degraded: z.array(z.enum(['redis', 'postgres', 'backends'])).meta({
    description: 'What is away for now; backends: a pool has none that takes requests',
  }),
  workers: z.strictObject({ serving: z.int().min(0), wanted: z.int().min(0) }),
});

/** The format that the registry renders. */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

const tags = ['operation'];

/** registerMetrics adds the routes; the server calls it once while it is built. */
export function registerMetrics(app: AdminApp, services: AdminServices): void {
  app.route({
    method: 'GET',
    url: '/livez',
    schema: { tags, summary: 'The process is alive', security: [], response: { 200: livezView } },
    handler: async (_request, reply) => reply.code(200).send({ status: 'alive' }),
  });
  app.route({
    method: 'GET',
    url: '/readyz',
    schema: {
      tags,
      summary: 'At least one worker serves and nobody is stopping; 503 otherwise',
      security: [],
      response: { 200: readyzView, 503: readyzView },
    },
    handler: async (_request, reply) => {
      const readiness = settled(services.readiness());
      return reply.code(readiness.status === 'ready' ? 200 : 503).send(readiness);
    },
  });
  app.route({
    method: 'GET',
    url: '/metrics',
    schema: {
      tags,
      summary: 'Counters and gauges in the Prometheus text format',
      response: {
        200: { description: 'Metrics', content: { 'text/plain': { schema: z.string() } } },
        ...problemResponses(),
      },
    },
    handler: async (_request, reply) => reply.type(METRICS_TYPE).send(await services.metricsText()),
  });
}

/** Ready promises a worker: while all of them are being replaced it is starting again. */
function settled({ status, degraded, workers }: Readiness): Readiness {
  return {
    status: status === 'ready' && workers.serving === 0 ? 'starting' : status,
    degraded: [...degraded],
    workers: { ...workers },
  };
}
