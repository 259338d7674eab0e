/**
 * What the primary knows about every backend, by (pool, backend id), kept over reloads: the results of probes and of live
 * traffic (healthy or not) and the operator's word (enabled or not).
 *
 * Health is a state machine with two counters of consecutive results that reset each other:
 * - unknown: there is a health check and no result yet; no traffic. The first result decides between up and down (B6).
 * - up: leaves for down after `fall` consecutive failures. Without a health check always up.
 * - down: leaves for up after `rise` consecutive passes.
 * record() and recordTrafficFailure() move a backend between them. A connection failure that a worker met counts as one
 * failed probe. A name that does not resolve counts as nothing: it says nothing about the backend.
 *
 * A reload that adds a health check to a backend leaves it up, so that nothing fails for want of a probe, but its first result
 * decides as well. One that removes the check makes it up.
 *
 * While no enabled backend of a pool is up, the one that went down last stays available: trying it may work, and an answer of
 * our own never does.
 */
import type { BackendAvailability, BackendState, Health, ProbeResult } from '../../contract/health.ts';
import type { BackendSettings, HealthCheckSettings, PoolSettings } from '../../contract/settings.ts';

/** What made a state change. resolver: the backend's name stopped resolving, or resolves again. */
type HealthCause = 'probe' | 'traffic' | 'operator' | 'resolver';

export interface HealthChange {
  cause: HealthCause;
  /** The state after the change. */
  state: BackendState;
}

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
  /** Grows with each backend that goes from up to down; 0: it has not, or it is up again. */
  fallNumber: number;
}

interface Entry extends Results {
  readonly pool: string;
  readonly backend: string;
  readonly host: string;
  readonly port: number;
  check: HealthCheckSettings | null;
  enabled: boolean;
}

const DRAINED_REASON = 'drained by operator';

/** HealthRegistry is built once by the primary; bounded by the configuration. Synchronous throughout. */
export class HealthRegistry {
  #pools = new Map<string, Map<string, Entry>>();
  readonly #listeners = new Set<(change: HealthChange) => void>();
  #fallCount = 0;

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
    this.#noteResolver(entry, result);
    if (result.inconclusive) return;
    this.#count(entry, { ok: result.ok, cause: 'probe', detail: result.detail });
  }

  /** recordTrafficFailure takes a worker's `backend-failure`: its connection could not be made. */
  recordTrafficFailure(pool: string, backend: string, detail: string): void {
    const entry = this.#find(pool, backend);
    if (entry === null) return;
    this.#count(entry, { ok: false, cause: 'traffic', detail: `${detail} on live traffic` });
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
    return [...this.#pools.values()].flatMap((entries) => [...entries.values()].map(stateOf));
  }

  /** state is one backend's, or null for one that is not configured; a copy. */
  state(pool: string, backend: string): BackendState | null {
    const entry = this.#find(pool, backend);
    return entry === null ? null : stateOf(entry);
  }

  /**
   * availability is the content of a `backends` message to a worker: of all pools, or of one of them after a change in it (one
   * change may make another backend of the pool the last resort).
   */
  availability(pool?: string): BackendAvailability[] {
    const names = pool === undefined ? [...this.#pools.keys()] : [pool];
    return names.flatMap((name) => availabilityOf([...(this.#pools.get(name)?.values() ?? [])]));
  }

  #find(pool: string, backend: string): Entry | null {
    return this.#pools.get(pool)?.get(backend) ?? null;
  }

  #entryFor({ name, healthCheck: check }: PoolSettings, { id, host, port }: BackendSettings): Entry {
    const known = this.#find(name, id);
    if (known === null || known.host !== host || known.port !== port) {
      const results = noResults(check === null ? 'up' : 'unknown');
      return { pool: name, backend: id, host, port, check, enabled: known?.enabled ?? true, ...results };
    }
    // Without a check nothing could ever bring a backend back: it counts as healthy again.
    if (known.check !== null && check === null) Object.assign(known, noResults('up'));
    known.check = check;
    return known;
  }

  #count(entry: Entry, { ok, cause, detail }: { ok: boolean; cause: HealthCause; detail: string }): void {
    if (entry.check === null) return;
    const count = (ok ? entry.consecutivePasses : entry.consecutiveFailures) + 1;
    entry.consecutivePasses = ok ? count : 0;
    entry.consecutiveFailures = ok ? 0 : count;
    const health = ok ? 'up' : 'down';
    const isFirst = !entry.decided;
    entry.decided = true;
    const isEnough = count >= (ok ? entry.check.rise : entry.check.fall);
    if (!isFirst && (entry.health === health || !isEnough)) return;
    const [one, many] = ok ? ['pass', 'passes'] : ['failure', 'failures'];
    const what = isFirst
      ? `first probe ${ok ? 'passed' : 'failed'}`
      : `${count} consecutive ${count === 1 ? one : many}`;
    this.#enter(entry, health, { cause, reason: `${what}: ${detail}` });
  }

  /** Tells when the name stops resolving and when it resolves again. */
  #noteResolver(entry: Entry, { resolverError, inconclusive, detail }: ProbeResult): void {
    const unresolved = resolverError !== undefined;
    const changed = entry.unresolved !== unresolved;
    entry.unresolved = unresolved;
    if (inconclusive && entry.health === 'unknown') entry.healthReason = detail;
    if (changed) this.#emit(entry, 'resolver');
  }

  #enter(entry: Entry, health: Health, { cause, reason }: { cause: HealthCause; reason: string }): void {
    const changed = entry.health !== health;
    if (health === 'up') entry.fallNumber = 0;
    else if (entry.health === 'up') entry.fallNumber = ++this.#fallCount;
    entry.health = health;
    entry.healthReason = reason;
    if (changed) this.#emit(entry, cause);
  }

  #emit(entry: Entry, cause: HealthCause): void {
    const change = { cause, state: stateOf(entry) };
    for (const listener of this.#listeners) listener(change);
  }
}

function availabilityOf(entries: readonly Entry[]): BackendAvailability[] {
  const lastResort = lastResortOf(entries.filter(({ enabled }) => enabled));
  return entries.map((entry) => ({
    pool: entry.pool,
    backend: entry.backend,
    healthy: entry.health === 'up' || entry === lastResort,
    enabled: entry.enabled,
  }));
}

/** Of the enabled backends of a pool, where none is up: the one that went down last. One that never was up is none. */
function lastResortOf(enabled: readonly Entry[]): Entry | null {
  if (enabled.some(({ health }) => health === 'up')) return null;
  const fallen = enabled.filter(({ fallNumber }) => fallNumber > 0);
  return fallen.sort((a, b) => b.fallNumber - a.fallNumber)[0] ?? null;
}

function noResults(health: Health): Results {
  return {
    health,
    decided: false,
    healthReason: null,
    consecutivePasses: 0,
    consecutiveFailures: 0,
    lastProbe: null,
    unresolved: false,
    fallNumber: 0,
  };
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
