/** What is known of one backend, and what follows from it. Its states, and who moves them: health-registry.ts, ejections.ts. */
import type { BackendState, Health, ProbeResult, Standing } from '../../contract/health.ts';
import type { HealthCheckSettings } from '../../contract/pool-settings.ts';
import type { SavedBackend } from './health-file.ts';

/** Ejection of a backend, by ejections.ts; wall clock. */
export interface Ejection {
  ejectionReason: string | null;
  ejectedUntilMs: number | null;
  /** This one included; ejections.ts forgets them in time. */
  timesEjected: number;
}

export const NOT_EJECTED: Ejection = { ejectionReason: null, ejectedUntilMs: null, timesEjected: 0 };

/** What probes and traffic have shown of a backend. */
interface Results {
  health: Health;
  /** Whether any result has come since the check exists; the first one decides alone. */
  decided: boolean;
  healthReason: string | null;
  consecutivePasses: number;
  consecutiveFailures: number;
  lastProbe: ProbeResult | null;
  /** Whether the last probe found the name unresolved. */
  unresolved: boolean;
}

/** Entry is kept by the registry, across reloads. */
export interface Entry extends Results, Ejection {
  readonly pool: string;
  readonly backend: string;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  check: HealthCheckSettings | null;
  weight: number;
  backup: boolean;
  /** By the operator. */
  enabled: boolean;
  /** What workers know. */
  standing: Standing;
  /** Since when it takes requests, on the monotonic clock; null: it does not, or has since the start of this process. */
  upSinceMs: number | null;
  /** It is there since the start of this process, and has had no result yet: then it needs no slow start (B7). */
  isFromStart: boolean;
}

/** standingOf is what workers are told. */
export function standingOf(entry: Entry): Standing {
  if (drainOf(entry) !== null || entry.health === 'unknown') return 'off';
  return stateNameOf(entry) === 'up' ? 'up' : 'out';
}

/** noResults begins anew. */
export function noResults(health: Health): Results {
  return {
    health,
    decided: false,
    healthReason: null,
    consecutivePasses: 0,
    consecutiveFailures: 0,
    lastProbe: null,
    unresolved: false,
  };
}

/** savedOf is what the next primary is told. */
export function savedOf(entry: Entry): SavedBackend {
  const { pool, backend: id, host, port, tls, health, check, enabled } = entry;
  const { ejectionReason, ejectedUntilMs, timesEjected } = entry;
  const ejection =
    ejectedUntilMs === null ? null : { ejectionReason: ejectionReason ?? '', ejectedUntilMs, timesEjected };
  return { pool, id, host, port, tls, up: check !== null && health === 'up', drained: !enabled, ejection };
}

function stateNameOf(entry: Entry): BackendState['state'] {
  if (drainOf(entry) !== null) return 'draining';
  return entry.health === 'up' && entry.ejectedUntilMs !== null ? 'ejected' : entry.health;
}

/** Who drains it, in words; null: nobody. */
function drainOf({ enabled, weight }: Pick<Entry, 'enabled' | 'weight'>): string | null {
  if (!enabled) return 'drained by operator';
  return weight === 0 ? 'drained by configuration (weight 0)' : null;
}

/** stateOf is a copy for the log, the metrics and the admin port. */
export function stateOf(entry: Entry): BackendState {
  return {
    pool: entry.pool,
    backend: entry.backend,
    health: entry.health,
    enabled: entry.enabled,
    ejectedUntilMs: entry.ejectedUntilMs,
    state: stateNameOf(entry),
    reason: drainOf(entry) ?? (entry.health === 'up' ? entry.ejectionReason : null) ?? entry.healthReason,
    consecutivePasses: entry.consecutivePasses,
    consecutiveFailures: entry.consecutiveFailures,
    lastProbe: entry.lastProbe,
  };
}
