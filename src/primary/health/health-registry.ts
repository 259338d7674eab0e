/**
 * What the primary knows about every backend, by (pool, backend id), across reloads: its health, by probes and live traffic, and
 * whether it is drained, by the operator or by a weight of 0.
 *
 * Health is a state machine with two counters, of consecutive passes and consecutive failures, which reset each other:
 * - unknown: there is a health check and no result yet; no traffic. The first result decides between up and down (B6).
 * - up: leaves for down after `fall` consecutive failures. Without a health check always up.
 * - down: leaves for up after `rise` consecutive passes.
 * record() and recordTrafficFailure() move a backend between them. A connection failure of a worker counts as one failed probe. An
 * inconclusive probe does not count: the name has never resolved, or this machine lacks descriptors or memory.
 *
 * A reload that adds a health check leaves the backend up until the first result, which decides alone here too. A reload that removes
 * the check makes it up.
 *
 * While no backend of a pool that is not drained is up, the one that went down last stays available: a try may succeed, an answer of our own is
 * an error for certain.
 */
import type { BackendAvailability, BackendState, Health, ProbeResult } from '../../contract/health.ts';
import {
  type BackendSettings,
  type HealthCheckSettings,
  isSameServer,
  type PoolSettings,
} from '../../contract/pool-settings.ts';

/** Why a state changed. resolver: the backend's name no longer resolves, or resolves again. */
type HealthCause = 'probe' | 'traffic' | 'operator' | 'resolver';

export interface HealthChange {
  cause: HealthCause;
  /** The state after the change. */
  state: BackendState;
  /** For workers: the backends whose availability is another now. Beside this one that may be the last resort of its pool. */
  changed: BackendAvailability[];
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
  /** Orders the backends by when they went down; 0 for one that is up, or never was. */
  fallNumber: number;
}

interface Entry extends Results {
  readonly pool: string;
  readonly backend: string;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  check: HealthCheckSettings | null;
  weight: number;
  /** By the operator. */
  enabled: boolean;
  /** Kept by refresh(); never changed in place. */
  availability: BackendAvailability | null;
}

/** HealthRegistry is built once by the primary; bounded by the configuration. Synchronous throughout. */
export class HealthRegistry {
  #pools = new Map<string, Map<string, Entry>>();
  #listener: (change: HealthChange) => void = () => undefined;
  #fallCount = 0;

  /** onChange calls back at every change, see HealthCause; there is one listener. */
  onChange(listener: (change: HealthChange) => void): void {
    this.#listener = listener;
  }

  /**
   * configure takes the pools of a revision, at start and at each reload. It tells no listener: whoever loads the revision sends
   * `availability()` with it. A known id with another address is a new backend, except that an operator's drain stays.
   */
  configure(pools: readonly PoolSettings[]): void {
    const next = new Map<string, Map<string, Entry>>();
    for (const pool of pools) {
      const entries = pool.backends.map((backend) => this.#entryFor(pool, backend));
      refresh(entries);
      next.set(pool.name, new Map(entries.map((entry) => [entry.backend, entry])));
    }
    this.#pools = next;
  }

  /** record takes the result of a probe from the health checker. Backends that a reload removed are ignored. */
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

  /** setEnabled drains a backend (false) or enables it again (true). @returns the new state; null: no such backend is configured */
  setEnabled(pool: string, backend: string, enabled: boolean): BackendState | null {
    const entry = this.#find(pool, backend);
    if (entry === null) return null;
    const changed = entry.enabled !== enabled;
    entry.enabled = enabled;
    if (changed) this.#emit(entry, 'operator');
    return stateOf(entry);
  }

  /** states is a copy of every backend's state, in the order of the configuration. */
  states(): BackendState[] {
    return [...this.#pools.values()].flatMap((entries) => [...entries.values()].map(stateOf));
  }

  /** state is a copy of one backend's state, or null for one that is not configured. */
  state(pool: string, backend: string): BackendState | null {
    const entry = this.#find(pool, backend);
    return entry === null ? null : stateOf(entry);
  }

  /** availability is that of all backends, for a worker's settings. */
  availability(): BackendAvailability[] {
    const entries = [...this.#pools.values()].flatMap((pool) => [...pool.values()]);
    return entries.flatMap(({ availability }) => availability ?? []);
  }

  #find(pool: string, backend: string): Entry | null {
    return this.#pools.get(pool)?.get(backend) ?? null;
  }

  #entryFor({ name, healthCheck: check }: PoolSettings, backend: BackendSettings): Entry {
    const { id, host, port, tls, weight } = backend;
    const known = this.#find(name, id);
    if (known === null || !isSameServer(known, backend)) {
      const results = noResults(check === null ? 'up' : 'unknown');
      const enabled = known?.enabled ?? true;
      return {
        pool: name,
        backend: id,
        host,
        port,
        tls,
        weight,
        check,
        enabled,
        availability: null,
        ...results,
      };
    }
    // Without a check nothing could ever bring a backend back: it counts as healthy again.
    if (known.check !== null && check === null) Object.assign(known, noResults('up'));
    known.check = check;
    known.weight = weight;
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

  /** Reports when the name stops resolving, and when it resolves again. */
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
    const changed = refresh([...(this.#pools.get(entry.pool)?.values() ?? [])]);
    this.#listener({ cause, state: stateOf(entry), changed });
  }
}

/** Brings `availability` of a pool's backends up to date and returns what has changed. */
function refresh(entries: readonly Entry[]): BackendAvailability[] {
  const lastResort = lastResortOf(entries);
  const changed: BackendAvailability[] = [];
  for (const entry of entries) {
    const { pool, backend, health } = entry;
    const standing = !isDrained(entry) && (health === 'up' || entry === lastResort) ? 'up' : 'off';
    if (standing === entry.availability?.standing) continue;
    entry.availability = { pool, backend, standing };
    changed.push(entry.availability);
  }
  return changed;
}

/** Where no backend of the pool that is not drained is up: the one that went down last, if any was ever up. */
function lastResortOf(entries: readonly Entry[]): Entry | null {
  let last: Entry | null = null;
  for (const entry of entries) {
    if (isDrained(entry)) continue;
    if (entry.health === 'up') return null;
    if (entry.fallNumber > (last?.fallNumber ?? 0)) last = entry;
  }
  return last;
}

function isDrained(entry: Entry): boolean {
  return drainOf(entry) !== null;
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

/** Who drains it, in words; null: nobody. */
function drainOf({ enabled, weight }: Entry): string | null {
  if (!enabled) return 'drained by operator';
  return weight === 0 ? 'drained by configuration (weight 0)' : null;
}

function stateOf(entry: Entry): BackendState {
  return {
    pool: entry.pool,
    backend: entry.backend,
    health: entry.health,
    enabled: entry.enabled,
    draining: isDrained(entry),
    reason: drainOf(entry) ?? entry.healthReason,
    consecutivePasses: entry.consecutivePasses,
    consecutiveFailures: entry.consecutiveFailures,
    lastProbe: entry.lastProbe,
  };
}
