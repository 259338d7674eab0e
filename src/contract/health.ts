/**
 * What the primary tells workers about backends. A backend takes new requests only while it is both healthy, by its probes, and
 * enabled, by the operator.
 */
import type { Fitting } from './shape.ts';

/** unknown: no probe result yet, and no traffic until one passes; only of pools with a healthCheck. */
export type Health = 'unknown' | 'up' | 'down';

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

/** BackendState is kept by the primary per (pool, backend id) and survives reloads. */
export interface BackendState {
  pool: string;
  backend: string;
  health: Health;
  enabled: boolean;
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
    /** It is up; or no enabled backend of its pool is up, and it went down last. */
    healthy: 'boolean',
    enabled: 'boolean',
  },
} as const;

/** backendKey names a backend in maps of all pools. @param id its id in the pool */
export function backendKey(pool: string, id: string): string {
  return `${pool} ${id}`;
}
