/**
 * What the primary tells workers about backends. A backend takes new requests only while it is up, by its probes, and not drained, by
 * the operator or a weight of 0.
 */
import type { Fitting, Typed } from './shape.ts';

/** unknown: no probe result yet, and no traffic until one passes; only of pools with a healthCheck. */
export type Health = 'unknown' | 'up' | 'down';

/** up: it may take requests; off: it may not. */
export type Standing = 'up' | 'off';

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
  /** false: the operator has drained it. */
  enabled: boolean;
  /** Whether it takes no new requests because of the operator, or of a weight of 0. */
  draining: boolean;
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
  },
} as const;

/** backendKey names a backend in maps of all pools. @param id its id in the pool */
export function backendKey(pool: string, id: string): string {
  return `${pool} ${id}`;
}
