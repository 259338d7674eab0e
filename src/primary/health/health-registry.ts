/**
 * What the primary knows about every backend, by (pool, backend id), across reloads: its health, by probes and live traffic, and
 * whether it is drained, by the operator or by a weight of 0.
 *
 * Health is a state machine with two counters, of consecutive passes and consecutive failures, which reset each other:
 * - unknown: there is a health check and no result yet; no traffic. The first result decides between up and down (B6).
 * - up: leaves for down after `fall` consecutive failures. Without a health check always up.
 * - down: leaves for up after `rise` consecutive passes.
 * record() and recordConnectFailure() move a backend between them. A connection failure of a worker counts as one failed probe. An
 * inconclusive probe does not count: the name has never resolved, or this machine lacks descriptors or memory.
 *
 * A reload that adds a health check leaves the backend up until the first result, which decides alone here too. A reload that removes
 * the check makes it up.
 *
 * What a pool does with backends that are down: panic.ts. Which ones are ejected: ejections.ts.
 */
import { type Clock, systemClock } from '../../contract/clock.ts';
import { counted } from '../../contract/counted.ts';
import {
  type BackendAvailability,
  type BackendState,
  backendKey,
  type Health,
  type PoolPanic,
  type ProbeResult,
} from '../../contract/health.ts';
import {
  type BackendSettings,
  type HealthCheckSettings,
  isSameServer,
  type PoolSettings,
} from '../../contract/pool-settings.ts';
import {
  type Ejection,
  type Entry,
  NOT_EJECTED,
  noResults,
  savedOf,
  standingOf,
  stateOf,
} from './health-entry.ts';
import type { SavedBackend } from './health-file.ts';
import { type PanicView, panicOf } from './panic.ts';

/** Why a state changed. outlier: an ejection, or its end; resolver: the backend's name no longer resolves, or resolves again. */
type HealthCause = 'probe' | 'traffic' | 'operator' | 'resolver' | 'outlier';

export interface HealthChange {
  cause: HealthCause;
  /** The state after the change. */
  state: BackendState;
  /** For workers: what is another now, of this backend and its pool. */
  changed: { states: BackendAvailability[]; panics: PoolPanic[] };
}

interface Pool extends PanicView {
  readonly name: string;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly panicThresholdPercent: number;
  readonly slowStartMs: number;
}

/** HealthRegistry is built once by the primary; bounded by the configuration. Synchronous throughout. */
export class HealthRegistry {
  readonly #clock: Clock;
  #pools = new Map<string, Pool>();
  #isConfigured = false;
  /** By backendKey; until the first configuration. */
  #saved = new Map<string, SavedBackend>();
  #listener: (change: HealthChange) => void = () => undefined;
  #panicListener: (pool: string, view: PanicView) => void = () => undefined;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** onChange calls back at every change, see HealthCause; there is one listener. */
  onChange(listener: (change: HealthChange) => void): void {
    this.#listener = listener;
  }

  /** onPanic calls back when a pool begins or ceases to panic, also by a reload; there is one listener. */
  onPanic(listener: (pool: string, view: PanicView) => void): void {
    this.#panicListener = listener;
  }

  /** restore takes over what an earlier primary has saved; before the first configuration. */
  restore(saved: readonly SavedBackend[]): void {
    this.#saved = new Map(saved.map((each) => [backendKey(each.pool, each.id), each]));
  }

  /** saved is what the next primary should know; see health-file.ts. Backends of which nothing is to be known are left out. */
  saved(): SavedBackend[] {
    return this.#entries()
      .map(savedOf)
      .filter(({ up, drained, ejection }) => up || drained || ejection !== null);
  }

  /**
   * configure takes the pools of a revision, at start and at each reload. It tells no listener: whoever loads the revision sends
   * `availability()` and `panics()` with it. A known id with another address is a new backend, except that an operator's drain stays.
   */
  configure(pools: readonly PoolSettings[]): void {
    const next = new Map<string, Pool>();
    for (const { name, panicThresholdPercent, slowStartMs, healthCheck, outlier, backends } of pools) {
      const entries = backends.map((backend) => this.#entryFor(name, healthCheck, backend));
      for (const entry of entries) {
        if (outlier === null) Object.assign(entry, NOT_EJECTED);
        this.#updateStanding(entry);
      }
      const { panic = 'no', healthy = 0, known = 0 } = this.#pools.get(name) ?? {};
      const byId = new Map(entries.map((entry) => [entry.backend, entry]));
      next.set(name, { name, entries: byId, panicThresholdPercent, slowStartMs, panic, healthy, known });
    }
    this.#pools = next;
    this.#isConfigured = true;
    this.#saved.clear();
    for (const pool of next.values()) this.#refreshPanic(pool);
  }

  /** record takes the result of a probe from the health checker. Backends that a reload removed are ignored. */
  record(pool: string, backend: string, result: ProbeResult): void {
    const entry = this.#find(pool, backend);
    if (entry === null || entry.check === null) return;
    const isFirst = entry.lastProbe === null;
    entry.lastProbe = result;
    const isTold = this.#noteResolver(entry, result);
    if (!result.inconclusive) this.#count(entry, { ok: result.ok, cause: 'probe', detail: result.detail });
    // Nothing is under way any more: the pool may panic now.
    else if (isFirst && !isTold) this.#emit(entry, 'probe');
  }

  /**
   * recordConnectFailure takes a worker's `connect-failure`: its connection could not be made. A backend that is unknown has no
   * traffic: what failed was the server that had its id before.
   */
  recordConnectFailure(pool: string, backend: string, detail: string): void {
    const entry = this.#find(pool, backend);
    if (entry === null || entry.health === 'unknown') return;
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

  /**
   * lossOf is what a pool would lose if this backend were drained. healthy: the last one that is up; others that are down or ejected are
   * left, and the pool would panic. all: the last one that takes requests. null: no such thing, or no such backend.
   */
  lossOf(pool: string, backend: string): 'healthy' | 'all' | null {
    const { entries, panic, panicThresholdPercent } = this.#pools.get(pool) ?? {};
    const standing = entries?.get(backend)?.standing ?? 'off';
    if (standing === 'off' || (standing === 'out' && panic === 'no')) return null;
    const others = [...(entries?.values() ?? [])].filter((entry) => entry.backend !== backend);
    if (others.some((other) => other.standing === 'up')) return null;
    const isTried = panicThresholdPercent !== 0 && others.some((other) => other.standing === 'out');
    if (!isTried) return 'all';
    return standing === 'up' ? 'healthy' : null;
  }

  /** setEjection ejects a backend, or ends its ejection (null); for ejections.ts. */
  setEjection(pool: string, backend: string, ejection: Ejection | null): void {
    const entry = this.#find(pool, backend);
    if (entry === null) return;
    Object.assign(entry, ejection ?? NOT_EJECTED);
    this.#emit(entry, 'outlier');
  }

  /** ejection is that of one backend; null: it is not ejected. */
  ejection(pool: string, backend: string): Ejection | null {
    const entry = this.#find(pool, backend);
    return entry === null || entry.ejectedUntilMs === null ? null : entry;
  }

  /** states is a copy of every backend's state, in the order of the configuration. */
  states(): BackendState[] {
    return this.#entries().map(stateOf);
  }

  /** state is a copy of one backend's state, or null for one that is not configured. */
  state(pool: string, backend: string): BackendState | null {
    const entry = this.#find(pool, backend);
    return entry === null ? null : stateOf(entry);
  }

  /** availability is that of all backends, for a worker's settings. */
  availability(): BackendAvailability[] {
    return this.#entries().map((entry) => this.#availabilityOf(entry));
  }

  /** panics says of every pool whether it panics. */
  panics(): PoolPanic[] {
    return [...this.#pools.values()].map(({ name, panic }) => ({ pool: name, panic }));
  }

  #entries(): Entry[] {
    return [...this.#pools.values()].flatMap(({ entries }) => [...entries.values()]);
  }

  #find(pool: string, backend: string): Entry | null {
    return this.#pools.get(pool)?.entries.get(backend) ?? null;
  }

  #entryFor(pool: string, check: HealthCheckSettings | null, backend: BackendSettings): Entry {
    const { id, host, port, tls, weight, backup } = backend;
    const known = this.#find(pool, id);
    if (known === null || !isSameServer(known, backend)) {
      const saved = this.#saved.get(backendKey(pool, id));
      const enabled = known?.enabled ?? saved?.drained !== true;
      const earlier = saved !== undefined && isSameServer(saved, backend) ? saved : null;
      const facts = {
        pool,
        backend: id,
        host,
        port,
        tls,
        check,
        weight,
        backup,
        enabled,
        ...this.#ejectionIn(earlier),
      };
      return {
        ...facts,
        standing: 'off',
        upSinceMs: null,
        isFromStart: !this.#isConfigured,
        ...noResults(check === null || earlier?.up === true ? 'up' : 'unknown'),
      };
    }
    // Without a check nothing could ever bring a backend back: it counts as healthy again.
    if (known.check !== null && check === null) Object.assign(known, noResults('up'));
    return Object.assign(known, { check, weight, backup });
  }

  /** One that is over by now is none. */
  #ejectionIn(saved: SavedBackend | null): Ejection {
    const { ejection } = saved ?? { ejection: null };
    return ejection !== null && ejection.ejectedUntilMs > this.#clock.wallMs() ? ejection : NOT_EJECTED;
  }

  #count(entry: Entry, { ok, cause, detail }: { ok: boolean; cause: HealthCause; detail: string }): void {
    if (entry.check === null) return;
    const count = (ok ? entry.consecutivePasses : entry.consecutiveFailures) + 1;
    entry.consecutivePasses = ok ? count : 0;
    entry.consecutiveFailures = ok ? 0 : count;
    const health = ok ? 'up' : 'down';
    // A failed connection does not count as the first probe: until that the backend keeps its state.
    const isFirst = !entry.decided && cause === 'probe';
    entry.decided ||= isFirst;
    const isEnough = count >= (ok ? entry.check.rise : entry.check.fall);
    if (!isFirst && (entry.health === health || !isEnough)) return;
    const [one, many] = ok ? ['pass', 'passes'] : ['failure', 'failures'];
    const what = isFirst
      ? `first probe ${ok ? 'passed' : 'failed'}`
      : counted(count, `consecutive ${one}`, `consecutive ${many}`);
    this.#enter(entry, health, { cause, reason: `${what}: ${detail}` });
  }

  /** Reports when the name stops resolving, and when it resolves again. @returns whether it did */
  #noteResolver(entry: Entry, { resolverError, inconclusive, detail }: ProbeResult): boolean {
    const unresolved = resolverError !== undefined;
    const changed = entry.unresolved !== unresolved;
    entry.unresolved = unresolved;
    if (inconclusive && entry.health === 'unknown') entry.healthReason = detail;
    if (changed) this.#emit(entry, 'resolver');
    return changed;
  }

  #enter(entry: Entry, health: Health, { cause, reason }: { cause: HealthCause; reason: string }): void {
    const changed = entry.health !== health;
    entry.health = health;
    entry.healthReason = reason;
    if (changed) this.#emit(entry, cause);
  }

  #emit(entry: Entry, cause: HealthCause): void {
    const before = entry.standing;
    this.#updateStanding(entry);
    const pool = this.#pools.get(entry.pool);
    const hasChanged = pool !== undefined && this.#refreshPanic(pool);
    const panics = hasChanged ? [{ pool: pool.name, panic: pool.panic }] : [];
    const states = entry.standing === before ? [] : [this.#availabilityOf(entry)];
    this.#listener({ cause, state: stateOf(entry), changed: { states, panics } });
  }

  /** Brings up to date what workers are told. A slow start begins here, but not with the process (B7). */
  #updateStanding(entry: Entry): void {
    const standing = standingOf(entry);
    if (standing !== entry.standing)
      entry.upSinceMs = standing === 'up' && !entry.isFromStart ? this.#clock.monotonicMs() : null;
    entry.standing = standing;
    if (entry.health !== 'unknown') entry.isFromStart = false;
  }

  #availabilityOf({ pool, backend, standing, upSinceMs }: Entry): BackendAvailability {
    const slowStartMs = this.#pools.get(pool)?.slowStartMs ?? 0;
    const rampedMs = this.#clock.monotonicMs() - (upSinceMs ?? Number.NEGATIVE_INFINITY);
    return { pool, backend, standing, rampedMs: rampedMs < slowStartMs ? rampedMs : null };
  }

  /** @returns whether the pool does another thing now with backends that are out */
  #refreshPanic(pool: Pool): boolean {
    const before = pool.panic;
    Object.assign(pool, panicOf(pool.entries.values(), pool.panicThresholdPercent, before));
    if ((before === 'no') !== (pool.panic === 'no')) this.#panicListener(pool.name, pool);
    return before !== pool.panic;
  }
}
