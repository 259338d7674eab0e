/**
 * What the primary tells workers about backends. A backend takes new requests only while it is up, by its probes, and not drained, by
 * the operator or a weight of 0.
 */
import type { Fitting, Typed } from './shape.ts';

/** unknown: no probe result yet, and no traffic until one passes; only of pools with a healthCheck. */
export type Health = 'unknown' | 'up' | 'down';

/** up: it takes requests; out: it is down or ejected, and takes some only while its pool panics; off: it is drained, or has no result yet. */
export type Standing = 'up' | 'out' | 'off';

/**
 * What a pool does with backends that are out. no: nothing. shared: it panics, and they have their part of the requests. last: it
 * panics, and a backup serves in place of the others; they are tried where no other backend is left.
 */
export type Panic = 'no' | 'shared' | 'last';

/**
 * How long a worker doubts a backend by itself, after `outlier.consecutiveErrors` failed requests in a row. The primary decides in this
 * time, and asks about a backend that it cannot eject no more often.
 */
export const DOUBT_MS = 1_000;

export interface ProbeResult {
  atMs: number;
  ok: boolean;
  durationMs: number;
  /** What was seen: 'status 200', 'timeout', 'ECONNREFUSED', … */
  detail: string;
  /** The resolver's error. The probe went to the last known address, if there is one. */
  resolverError?: string;
  /** true: the backend's name has never resolved, or this machine lacks descriptors or the like. Then nothing is counted. */
  inconclusive?: boolean;
}

/** state, in the order in which they win: draining, unknown or down by its probes, ejected, up. */
export const BACKEND_STATES = ['up', 'down', 'ejected', 'draining', 'unknown'] as const;

/** BackendState is kept by the primary per (pool, backend id) and survives reloads. */
export interface BackendState {
  pool: string;
  backend: string;
  health: Health;
  /** false: the operator has drained it. */
  enabled: boolean;
  /** Wall clock; null: it is not ejected. */
  ejectedUntilMs: number | null;
  state: (typeof BACKEND_STATES)[number];
  /** Why it is in this state; null for a fresh one. */
  reason: string | null;
  consecutivePasses: number;
  consecutiveFailures: number;
  lastProbe: ProbeResult | null;
}

/** BackendAvailability is the part of a BackendState that a worker needs. */
export type BackendAvailability = Fitting<typeof BACKEND_AVAILABILITY>;

export const BACKEND_AVAILABILITY = {
  fields: {
    pool: 'string',
    backend: 'string',
    standing: 'string' as Typed<'string', Standing>,
    /** How long its slow start has lasted; null: it has none, or has risen. */
    rampedMs: { nullOr: 'number' },
  },
} as const;

export const POOL_PANIC = { fields: { pool: 'string', panic: 'string' as Typed<'string', Panic> } } as const;
/** PoolPanic tells workers whether a pool panics. */
export type PoolPanic = Fitting<typeof POOL_PANIC>;

/** backendKey names a backend in maps of all pools. @param id its id in the pool */
export function backendKey(pool: string, id: string): string {
  return `${pool} ${id}`;
}

/** poolOf is the pool in a key of backendKey: no name has a space. */
export function poolOf(key: string): string {
  return key.slice(0, key.indexOf(' '));
}
