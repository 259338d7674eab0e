/**
 * What the primary knows about every backend, by (pool, backend id), kept over reloads: the result of probes and of
 * live traffic (healthy or not) and the operator's word (enabled or not).
 *
 * Health is a small machine with consecutive counters that reset each other:
 * - unknown: has a health check and no result yet; no traffic. The first result decides: up or down (B6).
 * - up: leaves for down at `fall` consecutive failures. Without a health check always up.
 * - down: leaves for up at `rise` consecutive passes.
 * A reload that adds a health check to a backend leaves it up, so that nothing fails for want of a probe, but its
 * first result decides as well. One that removes the check makes it up.
 *
 * A connection failure that a worker met counts as one failed probe at once, where there is a health check.
 */
import type { BackendAvailability, BackendState, Health, ProbeResult } from '../../contract/health.ts';
import type { BackendSettings, HealthCheckSettings, PoolSettings } from '../../contract/settings.ts';

/** What made a state change: for the log and for whoever wants to tell probes from operators. */
export type HealthCause = 'probe' | 'traffic' | 'operator';

export interface HealthChange {
  cause: HealthCause;
  /** The state after the change. */
  state: BackendState;
}

/** One word per state for people: an operator's drain hides the health. */
export type BackendStateText = Health | 'drained';

interface Entry {
  readonly pool: string;
  readonly backend: string;
  readonly host: string;
  readonly port: number;
  check: HealthCheckSettings | null;
  health: Health;
  /** Whether any result has come since the check exists; the first one decides alone. */
  decided: boolean;
  enabled: boolean;
  healthReason: string | null;
  consecutivePasses: number;
  consecutiveFailures: number;
  lastProbe: ProbeResult | null;
}

const DRAINED_REASON = 'drained by operator';

/** HealthRegistry is built once by the primary; bounded by the configuration. Synchronous throughout. */
export class HealthRegistry {
  #pools = new Map<string, Map<string, Entry>>();
  readonly #listeners = new Set<(change: HealthChange) => void>();

  /** onChange hears every change of health or of the operator's word; returns how to stop listening. */
  onChange(listener: (change: HealthChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * configure takes the pools of a revision, at start and at each reload. It tells no listener: whoever loads the
   * revision sends `availability()` with it. A backend under a known id with another address starts fresh, but for an
   * operator's drain, which only an operator undoes.
   */
  configure(pools: readonly PoolSettings[]): void {
    const next = new Map<string, Map<string, Entry>>();
    for (const pool of pools) {
      const entries = pool.backends.map((backend) => this.#entryFor(pool, backend));
      next.set(pool.name, new Map(entries.map((entry) => [entry.backend, entry])));
    }
    this.#pools = next;
  }

  /** record takes the result of a probe; for the health checker. Backends that a reload removed are ignored. */
  record(pool: string, backend: string, result: ProbeResult): void {
    const entry = this.#find(pool, backend);
    if (entry === null || entry.check === null) return;
    entry.lastProbe = result;
    if (result.ok) this.#pass(entry, entry.check.rise, result.detail);
    else this.#fail(entry, entry.check.fall, { cause: 'probe', detail: result.detail });
  }

  /** recordTrafficFailure takes a worker's `backend-failure`: its connection could not be made. */
  recordTrafficFailure(pool: string, backend: string, detail: string): void {
    const entry = this.#find(pool, backend);
    if (entry === null || entry.check === null) return;
    this.#fail(entry, entry.check.fall, { cause: 'traffic', detail: `${detail} on live traffic` });
  }

  /**
   * setEnabled is the operator's drain (false) and enable (true); for the admin API.
   *
   * @returns the state after it, or null for a pool or backend that is not configured
   */
  setEnabled(pool: string, backend: string, enabled: boolean): BackendState | null {
    const entry = this.#find(pool, backend);
    if (entry === null) return null;
    const changed = entry.enabled !== enabled;
    entry.enabled = enabled;
    if (changed) this.#emit(entry, 'operator');
    return stateOf(entry);
  }

  /** states lists every backend in the order of the configuration; a copy. */
  states(): BackendState[] {
    return this.#entries().map(stateOf);
  }

  /** state is one backend's, or null for one that is not configured; a copy. */
  state(pool: string, backend: string): BackendState | null {
    const entry = this.#find(pool, backend);
    return entry === null ? null : stateOf(entry);
  }

  /** availability is the content of a full `backends` message to a worker. */
  availability(): BackendAvailability[] {
    return this.#entries().map((entry) => availabilityOf(stateOf(entry)));
  }

  #entries(): Entry[] {
    return [...this.#pools.values()].flatMap((entries) => [...entries.values()]);
  }

  #find(pool: string, backend: string): Entry | null {
    return this.#pools.get(pool)?.get(backend) ?? null;
  }

  #entryFor(pool: PoolSettings, backend: BackendSettings): Entry {
    const known = this.#find(pool.name, backend.id);
    if (known === null || known.host !== backend.host || known.port !== backend.port) {
      return freshEntry(pool, backend, known?.enabled ?? true);
    }
    const hadCheck = known.check !== null;
    known.check = pool.healthCheck;
    if (hadCheck && known.check === null) forgetResults(known);
    return known;
  }

  #pass(entry: Entry, rise: number, detail: string): void {
    entry.consecutiveFailures = 0;
    entry.consecutivePasses++;
    if (!entry.decided) {
      entry.decided = true;
      this.#enter(entry, 'up', { cause: 'probe', reason: `first probe passed: ${detail}` });
    } else if (entry.health === 'down' && entry.consecutivePasses >= rise) {
      const reason = `${counted(entry.consecutivePasses, 'pass', 'passes')}: ${detail}`;
      this.#enter(entry, 'up', { cause: 'probe', reason });
    }
  }

  #fail(entry: Entry, fall: number, { cause, detail }: { cause: HealthCause; detail: string }): void {
    entry.consecutivePasses = 0;
    entry.consecutiveFailures++;
    if (!entry.decided) {
      entry.decided = true;
      this.#enter(entry, 'down', { cause, reason: `first probe failed: ${detail}` });
    } else if (entry.health === 'up' && entry.consecutiveFailures >= fall) {
      const reason = `${counted(entry.consecutiveFailures, 'failure', 'failures')}: ${detail}`;
      this.#enter(entry, 'down', { cause, reason });
    }
  }

  #enter(entry: Entry, health: Health, { cause, reason }: { cause: HealthCause; reason: string }): void {
    const changed = entry.health !== health;
    entry.health = health;
    entry.healthReason = reason;
    if (changed) this.#emit(entry, cause);
  }

  #emit(entry: Entry, cause: HealthCause): void {
    const change = { cause, state: stateOf(entry) };
    for (const listener of [...this.#listeners]) listener(change);
  }
}

/** availabilityOf is the part of a state that workers need; for `backends` messages about single changes. */
export function availabilityOf(state: BackendState): BackendAvailability {
  return {
    pool: state.pool,
    backend: state.backend,
    healthy: state.health === 'up',
    enabled: state.enabled,
  };
}

/** stateTextOf names a state in one word; for the admin API. */
export function stateTextOf(state: BackendState): BackendStateText {
  return state.enabled ? state.health : 'drained';
}

function freshEntry(pool: PoolSettings, backend: BackendSettings, enabled: boolean): Entry {
  return {
    pool: pool.name,
    backend: backend.id,
    host: backend.host,
    port: backend.port,
    check: pool.healthCheck,
    health: pool.healthCheck === null ? 'up' : 'unknown',
    decided: false,
    enabled,
    healthReason: null,
    consecutivePasses: 0,
    consecutiveFailures: 0,
    lastProbe: null,
  };
}

/** Without a check nothing could ever bring a backend back: it counts as healthy again. */
function forgetResults(entry: Entry): void {
  entry.health = 'up';
  entry.decided = false;
  entry.healthReason = null;
  entry.consecutivePasses = 0;
  entry.consecutiveFailures = 0;
  entry.lastProbe = null;
}

function stateOf(entry: Entry): BackendState {
  return {
    pool: entry.pool,
    backend: entry.backend,
    health: entry.health,
    enabled: entry.enabled,
    reason: entry.enabled ? entry.healthReason : DRAINED_REASON,
    consecutivePasses: entry.consecutivePasses,
    consecutiveFailures: entry.consecutiveFailures,
    lastProbe: entry.lastProbe,
  };
}

function counted(count: number, one: string, many: string): string {
  return `${count} consecutive ${count === 1 ? one : many}`;
}
