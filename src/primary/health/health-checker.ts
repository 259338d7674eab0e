/**
 * Active health checks: one loop per (pool, backend), in the primary only, so that a backend is probed once per
 * machine whatever the number of workers. It measures and reports; what a result means is the registry's business.
 *
 * Intervals run from start to start, each within ±10 % of the setting (B3), so that checks which began
 * together drift apart. The first probe of a check starts at once: `ready` and new revisions wait for it.
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
  /** Every result of every running check; the registry's `record`. */
  onResult: (pool: string, backend: string, result: ProbeResult) => void;
  /** Default: a real probe over the network. */
  probe?: Probe;
}

/** HealthChecker is built once by the primary. */
export class HealthChecker {
  readonly #options: HealthCheckerOptions;
  #checks = new Map<string, Check>();
  #firstRound: Promise<void> = Promise.resolve();

  constructor(options: HealthCheckerOptions) {
    this.#options = options;
  }

  /** The round begun by the last reconfigure; see there. */
  get firstRound(): Promise<void> {
    return this.#firstRound;
  }

  /**
   * reconfigure takes the pools of a revision: checks of removed or changed backends stop, unchanged ones go on in
   * their rhythm, new ones start at once. Configure the registry before, and on a reload wait for the promise before workers
   * get the revision: else a backend that is new in it has no traffic until its first probe passed.
   *
   * @returns resolves when each check has had a result, at most the longest time limit of a check later; never rejects
   */
  reconfigure(pools: readonly PoolSettings[]): Promise<void> {
    const next = new Map<string, Check>();
    for (const [key, spec] of checksOf(pools)) {
      const running = this.#checks.get(key);
      this.#checks.delete(key);
      if (running?.isFor(spec.target)) {
        next.set(key, running);
        continue;
      }
      running?.stop();
      next.set(key, new Check(spec, this.#options));
    }
    for (const gone of this.#checks.values()) gone.stop();
    this.#checks = next;
    this.#firstRound = Promise.all([...next.values()].map((check) => check.firstResult)).then(
      () => undefined,
    );
    return this.#firstRound;
  }

  /** close stops every check and cuts the probes under way; no result is reported afterwards. */
  close(): void {
    for (const check of this.#checks.values()) check.stop();
    this.#checks.clear();
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

/** One check: probes one backend until stopped. */
class Check {
  /** Resolves with the first result, or when stopped before it. */
  readonly firstResult: Promise<void>;
  readonly #spec: CheckSpec;
  readonly #options: HealthCheckerOptions;
  readonly #fingerprint: string;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(spec: CheckSpec, options: HealthCheckerOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#fingerprint = JSON.stringify(spec.target);
    this.firstResult = this.#probe(options.clock.monotonicMs());
  }

  isFor(target: ProbeTarget): boolean {
    return this.#fingerprint === JSON.stringify(target);
  }

  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  /** Probes once, reports, and plans the next probe. Never rejects as long as onResult does not throw. */
  async #probe(startMs: number): Promise<void> {
    const { clock, probe = runProbe } = this.#options;
    const atMs = clock.wallMs();
    const { ok, detail } = await probe(this.#spec.target, this.#stopping.signal);
    if (this.#stopping.signal.aborted) return;
    const durationMs = clock.monotonicMs() - startMs;
    // Planned before reporting: a listener that throws must not end the check.
    this.#plan(startMs);
    this.#options.onResult(this.#spec.pool, this.#spec.backend, { atMs, ok, durationMs, detail });
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
