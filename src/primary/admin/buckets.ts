/** The live buckets of a client, or of the callers at an address, one per policy. */
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
const bucketsView = z.strictObject({
  bucketName: z.string().meta({
    description: 'What the buckets belong to: a client, or the address or range of callers without a record',
  }),
  items: z.array(bucketView),
});

const BUCKET = '/api/v1/clients/:clientId/bucket';
const tags = ['buckets'];

/** registerBuckets adds the routes; the server calls it once while it is built. */
export function registerBuckets(app: AdminApp, services: AdminServices): void {
  app.get(BUCKET, {
    schema: {
      tags,
      summary: 'Show the live buckets of a client, or of the callers at an address, without taking from them',
      params: clientIdParams,
      response: { 200: bucketsView, ...problemResponses(404, 422) },
    },
    handler: async ({ params }, reply) => reply.code(200).send(await services.buckets(params.clientId)),
  });
  app.post(`${BUCKET}/reset`, {
    schema: {
      tags,
      summary: 'Fill these buckets; every worker of every machine acts on it within a second',
      params: clientIdParams,
      response: { 204: z.null().meta({ description: 'Full' }), ...problemResponses(404, 422) },
    },
    handler: async ({ params }, reply) => {
      await services.resetBuckets(params.clientId);
      return reply.code(204).send(null);
    },
  });
}
