/** What the primary asks all workers for `GET /api/v1/top`: who sends most, or is limited most. */
import type { Fitting, Typed } from './shape.ts';

/** What is shown is a mean over this time. */
export const TOP_WINDOW_SEC = 60;
/** Callers in the answer of a worker: those with the highest rates. */
export const TOP_PART_MAX = 1_000;

export const TOP_ORDERS = ['requests', 'limited'] as const;
/** By what callers are ordered: all of their requests, or those that the limiter refuses. */
export type TopOrder = (typeof TOP_ORDERS)[number];

export const TOP_QUERY = { by: 'string' as Typed<'string', TopOrder> } as const;

const TOP_CALLER = {
  fields: {
    /** The client's id, or the address or range that shares a bucket. */
    name: 'string',
    isClient: 'boolean',
    requestsPerSec: 'number',
    limitedPerSec: 'number',
  },
} as const;
export type TopCaller = Fitting<typeof TOP_CALLER>;

export const TOP_PART = {
  items: { listOf: TOP_CALLER },
  /** Of all callers, by the asked order. */
  totalPerSec: 'number',
  /** By so much a rate may be higher than here, also that of a caller who is not here; by `limited` only limitedPerSec, as requestsPerSec is a least. */
  errorPerSec: 'number',
} as const;
export type TopPart = Fitting<{ readonly fields: typeof TOP_PART }>;
