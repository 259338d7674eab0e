/** What the primary asks a worker for `POST /api/v1/explain`, and the answer: the way that a request would take, and why. */
import type { ClientMatch, ClientMode } from './clients.ts';
import type { Reason } from './outcomes.ts';
import type { PolicySettings, RoutePriority } from './settings.ts';
import type { Fitting, Typed } from './shape.ts';

/** Routes, and backends, in one answer at most: the first ones. */
export const EXPLAINED_MAX = 1_000;

export const EXPLAIN_QUERY = {
  /** The head of an HTTP/1.1 request, as its client would send it; latin1. */
  head: 'string',
  scheme: 'string' as Typed<'string', 'http' | 'https'>,
  /** The address that the connection comes from, or UNIX_PEER. */
  peer: 'string',
} as const;
export type ExplainQuery = Fitting<{ readonly fields: typeof EXPLAIN_QUERY }>;

const REFUSAL = {
  fields: { status: 'number', reason: 'string' as Typed<'string', Reason>, text: 'string' },
} as const;

/** Whose bucket the request is counted in, and how that was found. */
const EXPLAINED_CLIENT = {
  fields: {
    clientId: { nullOr: 'string' },
    clientIp: 'string',
    mode: 'string' as Typed<'string', ClientMode>,
    by: 'string' as Typed<'string', 'api_key' | 'address' | 'range'>,
    match: 'object' as Typed<'object', ClientMatch>,
  },
} as const;

const EXPLAINED_POLICY = {
  fields: {
    policy: 'string',
    capacity: 'number',
    refillPerSecond: 'number',
    cost: 'number',
    /** Tokens that the worker holds ahead: they are spent before those in the bucket. */
    leased: 'number',
    /** While the store of this bucket is away, the number of workers that share the limit, each of which decides alone; null: it is there. */
    aloneAmong: { nullOr: 'number' },
    /** Tokens in its share of the limit then; null where it is there. */
    aloneLevel: { nullOr: 'number' },
    onStoreFailure: 'string' as Typed<'string', PolicySettings['onStoreFailure']>,
    shadow: 'boolean',
  },
} as const;

export const EXPLANATION = {
  fields: {
    /** null: none, or the request is refused before one is looked for. */
    route: { nullOr: 'string' },
    /** Why it is refused before its limits are asked; null: it is not. */
    refusal: { nullOr: REFUSAL },
    /** null: it is refused before its caller is looked for. */
    client: { nullOr: EXPLAINED_CLIENT },
    peer: { fields: { address: 'string', trusted: 'boolean' } },
    /** off: none is read. */
    apiKey: 'string' as Typed<'string', 'off' | 'none' | 'valid' | 'invalid'>,
    path: { fields: { asSent: 'string', normalForms: { listOf: 'string' }, ambiguous: 'boolean' } },
    policies: { listOf: EXPLAINED_POLICY },
    pool: { nullOr: 'string' },
    redirect: { nullOr: { fields: { status: 'number', location: 'string' } } },
    priority: { nullOr: 'string' as Typed<'string', RoutePriority> },
    /** wouldBeTried: it is picked from these, or waits for one of these. */
    backends: { listOf: { fields: { id: 'string', wouldBeTried: 'boolean', why: 'string' } } },
    /** no_backend: the pool has none to try or to wait for; queue_full: too many wait already. */
    lacking: { nullOr: 'string' as Typed<'string', 'no_backend' | 'queue_full'> },
    /** In order; empty: none was looked for. */
    routes: { listOf: { fields: { route: 'string', matched: 'boolean', why: 'string' } } },
    /** How many routes and backends are not shown. */
    leftOut: 'number',
    /** What happens, in sentences. */
    steps: { listOf: 'string' },
  },
} as const;
export type Explanation = Fitting<typeof EXPLANATION>;
