/**
 * Active health checks: one loop per (pool, backend), in the primary only, so that a backend is probed once per machine whatever
 * the number of workers. The checker measures and reports; the registry decides what a result means.
 *
 * Intervals run from start to start, each within ±10 % of the setting (B3), so that checks which began together drift apart.
 */
import { type Clock, systemClock } from '../../contract/clock.ts';
import type { ProbeResult } from '../../contract/health.ts';
import type { PoolSettings } from '../../contract/settings.ts';
import { atMost } from '../../infra/lifecycle.ts';
import { type Probe, type ProbeTarget, runProbe } from './probe.ts';

/** Largest deviation of one interval from the setting, as a share of it. */
const JITTER_RATIO = 0.1;
/** The ready line, and a reload, wait this long for first results: a backend may hang. */
const FIRST_RESULTS_MS = 3_000;

export interface HealthCheckerOptions {
  /** Every result of every check in force; the registry's `record`. */
  onResult: (pool: string, backend: string, result: ProbeResult) => void;
  /** For tests, as the others below. */
  clock?: Clock;
  /** Uniform in [0, 1). */
  random?: () => number;
  probe?: Probe;
}

/** HealthChecker is made once by the primary's main. */
export class HealthChecker {
  readonly #options: Required<HealthCheckerOptions>;
  /** The checks in force. */
  #checks = new Map<string, Check>();
  /** Checks of a revision that is about to come into force. */
  #staged = new Map<string, Check>();

  constructor(options: HealthCheckerOptions) {
    this.#options = { clock: systemClock, random: Math.random, probe: runProbe, ...options };
  }

  /**
   * prepare starts the checks that are new or changed in a revision, beside those in force. Their results are kept until
   * reconfigure puts the same revision into force.
   *
   * @returns resolves when each check of the revision has had a result, 3 s later at most; never rejects
   */
  prepare(pools: readonly PoolSettings[]): Promise<unknown> {
    for (const check of this.#staged.values()) check.stop();
    this.#staged.clear();
    const checks = checksOf(pools).map((spec) => {
      const known = checkFor(spec, this.#checks);
      if (known !== undefined) return known;
      const check = new Check(spec, this.#options);
      this.#staged.set(spec.key, check);
      return check;
    });
    return firstResults(checks);
  }

  /**
   * reconfigure puts the checks of a revision into force: those of removed or changed backends stop, unchanged ones go on in
   * their rhythm, new ones start at once unless `prepare` has started them. Configure the registry before.
   *
   * @returns as prepare
   */
  reconfigure(pools: readonly PoolSettings[]): Promise<unknown> {
    const next = checksOf(pools).map((spec) => {
      const known = checkFor(spec, this.#checks) ?? checkFor(spec, this.#staged);
      return known ?? new Check(spec, this.#options);
    });
    const kept = new Set(next);
    for (const check of [...this.#checks.values(), ...this.#staged.values()]) {
      if (!kept.has(check)) check.stop();
    }
    this.#checks = new Map(next.map((check) => [check.spec.key, check]));
    this.#staged.clear();
    for (const check of next) check.report();
    return firstResults(next);
  }

  /** close stops every check and cuts the probes under way; no result is reported afterwards. */
  close(): void {
    void this.reconfigure([]);
  }
}

function firstResults(checks: readonly Check[]): Promise<unknown> {
  return atMost(Promise.all(checks.map((check) => check.firstResult)), FIRST_RESULTS_MS);
}

/**
 * nextStartMs is when the probe after one that started at startMs is due.
 *
 * @param randomUnit uniform in [0, 1)
 */
export function nextStartMs(startMs: number, intervalMs: number, randomUnit: number): number {
  return startMs + intervalMs * (1 - JITTER_RATIO + 2 * JITTER_RATIO * randomUnit);
}

interface CheckSpec {
  /** Of the pool and the backend. */
  key: string;
  pool: string;
  backend: string;
  target: ProbeTarget;
  /** Equal for checks that do the same. */
  fingerprint: string;
}

function checksOf(pools: readonly PoolSettings[]): CheckSpec[] {
  return pools.flatMap(({ name, backends, healthCheck: check }) => {
    if (check === null) return [];
    return backends.map(({ id, host, port }) => {
      const target = { host, port, check };
      const fingerprint = JSON.stringify(target);
      return { key: JSON.stringify([name, id]), pool: name, backend: id, target, fingerprint };
    });
  });
}

/** The check of the backend where it probes what the spec says. */
function checkFor({ key, fingerprint }: CheckSpec, checks: ReadonlyMap<string, Check>): Check | undefined {
  const check = checks.get(key);
  return check?.spec.fingerprint === fingerprint ? check : undefined;
}

/** One check: probes one backend until stopped. Its results are held back until it is in force. */
class Check {
  readonly spec: CheckSpec;
  /** Resolves with the first result, or when stopped before it. */
  readonly firstResult: Promise<void>;
  readonly #options: Required<HealthCheckerOptions>;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #reports = false;
  #held: ProbeResult | null = null;

  constructor(spec: CheckSpec, options: Required<HealthCheckerOptions>) {
    this.spec = spec;
    this.#options = options;
    this.firstResult = this.#probe();
  }

  /** report puts the check into force: it tells the newest result that it has held back, and every later one. */
  report(): void {
    this.#reports = true;
    const held = this.#held;
    this.#held = null;
    if (held !== null) this.#tell(held);
  }

  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  /** Probes once, reports, and plans the next probe. Never rejects as long as onResult does not throw. */
  async #probe(): Promise<void> {
    const { clock, probe } = this.#options;
    const startMs = clock.monotonicMs();
    const atMs = clock.wallMs();
    const outcome = await probe(this.spec.target, this.#stopping.signal);
    if (this.#stopping.signal.aborted) return;
    const result = { atMs, durationMs: clock.monotonicMs() - startMs, ...outcome };
    // Planned before it is told: a listener that throws must not end the check.
    this.#plan(startMs);
    if (this.#reports) this.#tell(result);
    else this.#held = result;
  }

  #tell(result: ProbeResult): void {
    this.#options.onResult(this.spec.pool, this.spec.backend, result);
  }

  #plan(startMs: number): void {
    const { clock, random } = this.#options;
    const dueMs = nextStartMs(startMs, this.spec.target.check.intervalMs, random());
    this.#timer = setTimeout(() => void this.#probe(), Math.max(0, dueMs - clock.monotonicMs()));
  }
}
