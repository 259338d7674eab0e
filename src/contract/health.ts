/**
 * What primary and workers say to each other about backends. Healthy (probes) and enabled (operator) are two facts;
 * a backend takes new requests only when both hold.
 */

/** unknown: no probe result yet, no traffic until one passes (only where a healthCheck exists). */
export type Health = 'unknown' | 'up' | 'down';

export interface ProbeResult {
  atMs: number;
  ok: boolean;
  durationMs: number;
  /** What was seen: 'status 200', 'timeout', 'ECONNREFUSED', … */
  detail: string;
  /** What the resolver said where it did not resolve the backend's name. The last known address served, if there is one. */
  resolverError?: string;
  /** true: nothing was learnt about the backend, because its name has never resolved. Counts neither way. */
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

/** BackendAvailability is the part of it that a worker needs. */
export interface BackendAvailability {
  pool: string;
  backend: string;
  /** It is up, or it is the last one of its pool to have gone down and every other one is down as well. */
  healthy: boolean;
  enabled: boolean;
}
