/** The calls of orchestrators and Prometheus: is it alive, is it ready, the metrics. */
import * as z from 'zod';
import { degradedView } from '../../contract/status.ts';
import { degradedOf } from '../status/degraded.ts';
import { type AdminApp, call } from './app.ts';
import type { AdminParts } from './parts.ts';

const livezView = z.strictObject({ status: z.literal('alive') });
const readyzView = z.strictObject({
  status: z.enum(['ready', 'starting', 'draining']),
  degraded: degradedView,
  workers: z.strictObject({ serving: z.int().min(0), wanted: z.int().min(0) }),
});
type Readiness = z.infer<typeof readyzView>;

/** The format of PrimaryGauges.text(). */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
/** With exemplars. */
const OPEN_METRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

const tags = ['operation'];

/** registerOperation adds the routes. */
export function registerOperation(app: AdminApp, parts: AdminParts): void {
  app.get('/livez', {
    schema: { tags, summary: 'The process is alive', security: [], response: { 200: livezView } },
    handler: async () => ({ status: 'alive' as const }),
  });
  app.get('/readyz', {
    schema: {
      tags,
      summary: 'Sluice is ready: a worker serves, and no stop was asked for; 503 otherwise',
      security: [],
      response: { 200: readyzView, 503: readyzView },
    },
    handler: async (_request, reply) => {
      const readiness = readinessOf(parts);
      return reply.code(readiness.status === 'ready' ? 200 : 503).send(readiness);
    },
  });
  app.get(
    '/metrics',
    call(
      'operation',
      'Counters and gauges in the Prometheus text format, or in OpenMetrics if it is asked for',
      [],
      {
        response: {
          200: {
            description: 'Metrics',
            content: {
              'text/plain': { schema: z.string() },
              'application/openmetrics-text': { schema: z.string() },
            },
          },
        },
      },
    ),
    async ({ headers }, reply) => {
      const openMetrics = /\bapplication\/openmetrics-text\b/.test(headers.accept ?? '');
      const text = await parts.gauges.text(openMetrics);
      return reply.type(openMetrics ? OPEN_METRICS_TYPE : METRICS_TYPE).send(text);
    },
  );
}

function readinessOf(parts: AdminParts): Readiness {
  const { serving } = parts.supervisor.counts();
  const wanted = parts.supervisor.workers().filter((each) => each.wanted).length;
  const phase = parts.phase();
  // One serving worker is enough. While all workers are being replaced, Sluice is starting again.
  const status = phase === 'ready' && serving === 0 ? 'starting' : phase;
  return { status, degraded: degradedOf(parts), workers: { serving, wanted } };
}
