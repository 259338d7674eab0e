/** What the calls of `/api/v1/clients` answer about a client, its keys and its buckets. */
import * as z from 'zod';

export const capacity = z.int().min(1).max(1e9).meta({ description: 'Tokens of a full bucket' });
export const refillPerSecond = z.number().min(1e-6).max(1e9).meta({ description: 'Tokens per second' });
export const bucketLimits = z.strictObject({ capacity, refillPerSecond });
export type BucketLimits = z.infer<typeof bucketLimits>;
export const mode = z.enum(['limit', 'unlimited', 'blocked']);

const clientView = z.strictObject({
  clientId: z.string(),
  mode,
  capacity: capacity.nullable().meta({ description: 'null: the capacity of the policy' }),
  refillPerSecond: refillPerSecond.nullable(),
  limits: z.record(z.string(), bucketLimits),
});
export type ClientView = z.infer<typeof clientView>;

export const seenView = clientView.extend({
  lastSeenAt: z.iso.datetime().nullable().optional().meta({
    description:
      'The second of its last request to this machine. null: none since the workers that serve now began. Left out where a worker of this machine did not answer in time and no other has seen it, or where more than 1,000 other clients are being asked for already',
  }),
});
export type SeenView = z.infer<typeof seenView>;

export const writtenView = clientView.extend({
  pendingWorkers: z.array(z.int().min(0)).optional().meta({
    description:
      'Ids of the workers of this machine that serve and do not know it yet after a second. Left out: all do',
  }),
});
export type WrittenView = z.infer<typeof writtenView>;

export const keyName = z
  .string()
  .min(1)
  .max(128)
  // PostgreSQL's text can hold every other character.
  .refine((text) => !text.includes('\0'), 'must not hold U+0000')
  .meta({ description: 'The name of the key in lists' });
export const keyView = z.strictObject({
  keyId: z.string(),
  name: keyName.nullable(),
  createdAt: z.iso.datetime(),
});
export type KeyView = z.infer<typeof keyView>;

export const bucketView = z.strictObject({
  policy: z.string(),
  level: z.number().meta({ description: 'Tokens in the bucket now, with fractions' }),
  capacity: z.number(),
  refillPerSecond: z.number(),
  nextTokenMs: z.number().meta({ description: 'Milliseconds until the next whole token; 0: there is one' }),
});
export type BucketView = z.infer<typeof bucketView>;
