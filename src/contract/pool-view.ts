/** What the calls of `/api/v1/pools` answer, and what `GET /api/v1/events` sends of pools. */
import * as z from 'zod';
import { BACKEND_STATES } from './health.ts';

const count = z.int().min(0);

export const backendView = z.strictObject({
  id: z.string(),
  url: z.string(),
  weight: count,
  backup: z.boolean(),
  state: z.enum(BACKEND_STATES),
  reason: z
    .string()
    .nullable()
    .meta({ description: 'Why it is in this state; null: it has not changed yet' }),
  enabled: z.boolean().meta({ description: 'false: an operator has drained it' }),
  ejectedUntil: z.iso.datetime().nullable().meta({ description: 'null: it is not ejected' }),
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
  requestsPerSec: z.number().min(0).meta({ description: 'Attempts, mean of the last ten seconds' }),
  p99Ms: z
    .number()
    .nullable()
    .meta({ description: 'Until the head of the answer, in the last ten seconds; null: none came' }),
  share: z
    .number()
    .nullable()
    .meta({ description: 'Of the attempts at its pool in that time, 0 to 1; null: there were none' }),
});
export type BackendView = z.infer<typeof backendView>;

export const poolView = z.strictObject({
  pool: z.string(),
  balance: z.string(),
  queueRefusedPerSec: z.number().min(0).meta({
    description:
      'Requests refused because its backends are full, and so is its queue, or the wait there was too long; mean of the last ten seconds',
  }),
  backends: z.array(backendView),
});
export type PoolView = z.infer<typeof poolView>;
