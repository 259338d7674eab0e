/** The worker processes as they are now. */
import * as z from 'zod';
import { type AdminApp, listOf, problemResponses } from './app.ts';
import type { AdminServices } from './services.ts';

const count = z.int().min(0);

const workerView = z.strictObject({
  id: count.meta({ description: 'Place of the worker; its replacement has the same' }),
  pid: count,
  state: z.enum(['starting', 'serving', 'draining']),
  uptimeSec: z.number().min(0),
  revision: count.nullable().meta({ description: 'The configuration it runs; null: none yet' }),
  connections: count,
  requestsTotal: count,
  inFlight: count,
  loopDelayMs: z
    .number()
    .min(0)
    .meta({ description: 'Longest delay of the event loop within the last second' }),
});

/** registerWorkers adds the route; the server calls it once while it is built. */
export function registerWorkers(app: AdminApp, services: AdminServices): void {
  app.get('/api/v1/workers', {
    schema: {
      tags: ['workers'],
      summary: 'Worker processes with their load',
      response: { 200: listOf(workerView), ...problemResponses() },
    },
    handler: async (_request, reply) =>
      reply.code(200).send({ items: services.workers().map((worker) => ({ ...worker })), next: null }),
  });
}
