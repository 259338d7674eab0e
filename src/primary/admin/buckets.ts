/** The live buckets of a client, one per policy. */
import * as z from 'zod';
import { type AdminApp, problemResponses } from './app.ts';
import { clientIdParams } from './clients.ts';
import type { AdminServices } from './services.ts';

const bucketView = z.strictObject({
  policy: z.string(),
  level: z.number().meta({ description: 'Tokens now, with fractions' }),
  capacity: z.number(),
  refillPerSecond: z.number(),
  nextTokenMs: z.number().meta({ description: 'Milliseconds until there is a whole token; 0: there is one' }),
});

/** registerBuckets adds the routes; the server calls it once while it is built. */
export function registerBuckets(app: AdminApp, services: AdminServices): void {
  const { clients } = services;
  app.route({
    method: 'GET',
    url: '/api/v1/clients/:clientId/bucket',
    schema: {
      tags: ['clients'],
      summary: 'Look at the live buckets of a client without taking from them',
      params: clientIdParams,
      response: { 200: z.strictObject({ items: z.array(bucketView) }), ...problemResponses(404, 422) },
    },
    handler: async ({ params }, reply) => {
      const record = await clients.get(params.clientId);
      return reply.code(200).send({ items: await services.buckets(record) });
    },
  });
  app.route({
    method: 'POST',
    url: '/api/v1/clients/:clientId/bucket/reset',
    schema: {
      tags: ['clients'],
      summary:
        'Fill the buckets of a client, one per policy; every worker of every machine acts on it within a second',
      params: clientIdParams,
      response: { 204: z.null().meta({ description: 'Full' }), ...problemResponses(404, 422) },
    },
    handler: async ({ params }, reply) => {
      await services.resetBuckets(await clients.get(params.clientId));
      return reply.code(204).send(null);
    },
  });
}
