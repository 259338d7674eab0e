/**
 * Active health checks: one loop per (pool, backend), in the primary only, so that a backend is probed once per machine whatever
 * the number of workers. The checker measures and reports; the registry decides what a result means.
 *
 * Intervals run from start to start, each within ±10 % of the setting (B3), so that checks which began together drift apart.
 */
import type { Clock } from '../../contract/clock.ts';
import type { ProbeResult } from '../../contract/health.ts';
import type { PoolSettings } from '../../contract/settings.ts';
import { type Probe, type ProbeTarget, runProbe } from './probe.ts';

/** Largest deviation of one interval from the setting, as a share of it. */
const JITTER_RATIO = 0.1;

export interface HealthCheckerOptions {
  clock: Clock;
  /** Uniform in [0, 1). */
  random: () => number;
  /** Every result of every check in force; the registry's `record`. */
  onResult: (pool: string, backend: string, result: ProbeResult) => void;
  /** Default: a real probe over the network. */
  probe?: Probe;
}

/** HealthChecker is built once by the primary. */
export class HealthChecker {
  readonly #options: HealthCheckerOptions;
  /** The checks in force. */
  #checks = new Map<string, Check>();
  /** Checks of a revision that is about to come into force. */
  #staged = new Map<string, Check>();

  constructor(options: HealthCheckerOptions) {
    this.#options = options;
  }

  /**
   * prepare starts the checks that are new or changed in a revision, beside those in force. Their results are kept until
   * reconfigure puts the same revision into force.
   *
   * @returns resolves when each check of the revision has had a result; never rejects
   */
  prepare(pools: readonly PoolSettings[]): Promise<unknown> {
    for (const check of this.#staged.values()) check.stop();
    this.#staged.clear();
    const results: Promise<void>[] = [];
    for (const [key, spec] of checksOf(pools)) {
      let check = checkFor(spec, this.#checks.get(key));
      if (check === undefined) {
        check = new Check(spec, this.#options);
        this.#staged.set(key, check);
      }
      results.push(check.firstResult);
    }
    return Promise.all(results);
  }

  /**
   * reconfigure puts the checks of a revision into force: those of removed or changed backends stop, unchanged ones go on in
   * their rhythm, new ones start at once unless `prepare` has started them. Configure the registry before.
   *
   * @returns resolves when each check has had a result, at most the longest time limit of a check later; never rejects
   */
  reconfigure(pools: readonly PoolSettings[]): Promise<unknown> {
    const next = new Map<string, Check>();
    for (const [key, spec] of checksOf(pools)) {
      const check = checkFor(spec, this.#checks.get(key)) ?? checkFor(spec, this.#staged.get(key));
      next.set(key, check ?? new Check(spec, this.#options));
    }
    const kept = new Set(next.values());
    for (const check of [...this.#checks.values(), ...this.#staged.values()]) {
      if (!kept.has(check)) check.stop();
    }
    this.#checks = next;
    this.#staged.clear();
    for (const check of kept) check.report();
    return Promise.all([...kept].map((check) => check.firstResult));
  }

  /** close stops every check and cuts the probes under way; no result is reported afterwards. */
  close(): void {
    for (const check of [...this.#checks.values(), ...this.#staged.values()]) check.stop();
    this.#checks.clear();
    this.#staged.clear();
  }
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
  pool: string;
  backend: string;
  target: ProbeTarget;
}

function checksOf(pools: readonly PoolSettings[]): Map<string, CheckSpec> {
  const specs = new Map<string, CheckSpec>();
  for (const { name, backends, healthCheck } of pools) {
    if (healthCheck === null) continue;
    for (const { id, host, port } of backends) {
      const spec = { pool: name, backend: id, target: { host, port, check: healthCheck } };
      specs.set(JSON.stringify([name, id]), spec);
    }
  }
  return specs;
}

/** The check where it has the target of the spec; undefined where it has another one or there is none. */
function checkFor({ target }: CheckSpec, check: Check | undefined): Check | undefined {
  return check?.fingerprint === JSON.stringify(target) ? check : undefined;
}

/** One check: probes one backend until stopped. Its results are held back until it is in force. */
class Check {
  /** Resolves with the first result, or when stopped before it. */
  readonly firstResult: Promise<void>;
  /** Equal for checks that do the same. */
  readonly fingerprint: string;
  readonly #spec: CheckSpec;
  readonly #options: HealthCheckerOptions;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #reports = false;
  #held: ProbeResult | null = null;

  constructor(spec: CheckSpec, options: HealthCheckerOptions) {
    this.#spec = spec;
    this.#options = options;
    this.fingerprint = JSON.stringify(spec.target);
    this.firstResult = this.#probe(options.clock.monotonicMs());
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
  async #probe(startMs: number): Promise<void> {
    const { clock, probe = runProbe } = this.#options;
    const atMs = clock.wallMs();
    const outcome = await probe(this.#spec.target, this.#stopping.signal);
    if (this.#stopping.signal.aborted) return;
    const result = { atMs, durationMs: clock.monotonicMs() - startMs, ...outcome };
    // Planned before it is told: a listener that throws must not end the check.
    this.#plan(startMs);
    if (this.#reports) this.#tell(result);
    else this.#held = result;
  }

  #tell(result: ProbeResult): void {
    this.#options.onResult(this.#spec.pool, this.#spec.backend, result);
  }

  #plan(startMs: number): void {
    const { clock, random } = this.#options;
    const dueMs = nextStartMs(startMs, this.#spec.target.check.intervalMs, random());
    this.#timer = setTimeout(
      () => void this.#probe(clock.monotonicMs()),
      Math.max(0, dueMs - clock.monotonicMs()),
    );
  }
}
