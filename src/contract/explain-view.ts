/** What `POST /api/v1/explain` answers. Apart from what workers send, because they do without zod. */
import * as z from 'zod';
import { BACKEND_STATES } from './health.ts';

const text = z.string();
export const explanationView = z.strictObject({
  worker: z.int().meta({ description: 'Number of the worker that has answered' }),
  route: text.nullable(),
  refusal: z
    .strictObject({ status: z.int(), reason: text, text })
    .nullable()
    .meta({ description: 'How this worker would refuse it now, as in the access log; null: it would not' }),
  client: z
    .strictObject({
      clientId: text.nullable(),
      clientIp: text,
      mode: z.enum(['limit', 'unlimited', 'blocked']),
      by: z.enum(['api_key', 'address', 'range']),
      bucketName: text.meta({ description: 'The owner of its buckets' }),
    })
    .nullable(),
  peer: z.strictObject({ address: text, trusted: z.boolean() }),
  apiKey: z.enum(['off', 'none', 'valid', 'invalid']).meta({ description: 'off: none is read' }),
  path: z.strictObject({
    asSent: text,
    normalForms: z.array(text),
    ambiguous: z.boolean().meta({ description: 'They belong to different routes' }),
  }),
  policies: z.array(
    z.strictObject({
      policy: text,
      capacity: z.number(),
      refillPerSecond: z.number(),
      cost: z.number(),
      level: z.number().nullable().meta({
        description: 'Tokens in the bucket now, without those that workers hold on lease; null: not known',
      }),
      leased: z.number().meta({ description: 'Tokens that this worker holds on lease; they go first' }),
      aloneAmong: z.number().nullable().meta({
        description:
          'While the store of this bucket is away for the worker: the number of workers that share the limit, each of which decides alone, by `onStoreFailure`; null: it is there',
      }),
      aloneLevel: z.number().nullable().meta({
        description:
          'Tokens in the share of this worker then, which count in place of `level`; null where it is there',
      }),
      onStoreFailure: z.enum(['local', 'allow', 'deny']),
      shadow: z.boolean(),
    }),
  ),
  pool: text.nullable(),
  redirect: z.strictObject({ status: z.int(), location: text }).nullable(),
  priority: z.enum(['critical', 'normal', 'low']).nullable(),
  backends: z.array(
    z.strictObject({ id: text, state: z.enum(BACKEND_STATES), wouldBeTried: z.boolean(), why: text }),
  ),
  routes: z
    .array(z.strictObject({ route: text, matched: z.boolean(), why: text }))
    .meta({ description: 'In order; empty where the request is refused before' }),
  leftOut: z.int().meta({ description: 'Routes and backends beyond the first 1,000, which are not shown' }),
  steps: z.array(text).meta({ description: 'What happens, in sentences' }),
});
export type ExplanationView = z.infer<typeof explanationView>;
