/**
 * Active health checks: one loop per (pool, backend). They run in the primary only, so that a backend is probed once per machine and
 * not once per worker. The checker reports results; the registry decides what they mean.
 *
 * Intervals run from start to start, each within ±10 % of the setting (B3), so that checks which began together drift apart.
 */
import { hash } from 'node:crypto';
import { type Clock, systemClock } from '../../contract/clock.ts';
import type { ProbeResult } from '../../contract/health.ts';
import type { PoolSettings } from '../../contract/pool-settings.ts';
import { openFileLimit } from '../../infra/file-descriptors.ts';
import { atMost } from '../../infra/with-deadline.ts';
import { type Probe, runProbe } from './probe.ts';
import { type ProbeOutcome, type ProbeTarget, probeTarget } from './probe-target.ts';

/** Largest deviation of one interval from the setting, as a share of it. */
const JITTER_RATIO = 0.1;
/** A probe that found no descriptor or no memory here is repeated this soon, whatever the interval: it told nothing of its backend. */
const SHORTAGE_RETRY_MS = 1_000;
/** The ready line and a reload wait this long for first results: a backend may hang. */
const FIRST_RESULTS_MS = 3_000;

export interface HealthCheckerOptions {
  /** Every result of every check in force; the registry's `record`. */
  onResult: (pool: string, backend: string, result: ProbeResult) => void;
  /** For tests, as the others below. */
  clock?: Clock;
  /** Uniform in [0, 1). */
  random?: () => number;
  probe?: Probe;
  /** Probes under way at the same time; each has a connection, and the primary needs descriptors for more than probes. */
  maxProbes?: number;
}

/** HealthChecker is made once by BackendHealth. */
export class HealthChecker {
  readonly #options: CheckOptions;
  /** The checks in force, and those of a coming revision, which prepare has started. The key is all that a check depends on. */
  #checks = new Map<string, Check>();

  constructor(options: HealthCheckerOptions) {
    const maxProbes = Math.floor(openFileLimit() / 4);
    const given = { clock: systemClock, random: Math.random, probe: runProbe, maxProbes, ...options };
    this.#options = { ...given, slots: new Slots(given.maxProbes) };
  }

  /**
   * prepare starts the checks that are new or changed in a revision, beside those in force. Their results are kept until
   * reconfigure puts the same revision into force.
   *
   * @returns resolves when each check of the revision has had a result, after 3 s at the latest; never rejects
   */
  prepare(pools: readonly PoolSettings[]): Promise<unknown> {
    const next = this.#checksOf(pools);
    const inForce = [...this.#checks].filter(([, check]) => check.inForce);
    this.#keepOnly(new Map([...inForce, ...next]));
    return firstResults(next);
  }

  /**
   * reconfigure puts the checks of a revision into force: those of removed or changed backends stop, unchanged ones keep their
   * schedule, new ones start as soon as they have a slot, unless `prepare` has started them. Configure the registry before.
   *
   * @returns as prepare
   */
  reconfigure(pools: readonly PoolSettings[]): Promise<unknown> {
    const next = this.#checksOf(pools);
    this.#keepOnly(next);
    for (const check of next.values()) check.enforce();
    return firstResults(next);
  }

  /** close stops every check and cuts the probes under way; no result is reported afterwards. */
  close(): void {
    this.#keepOnly(new Map());
  }

  /** The checks of a revision, those that run already and new ones. */
  #checksOf(pools: readonly PoolSettings[]): Map<string, Check> {
    const checks = new Map<string, Check>();
    for (const pool of pools) {
      const { name, backends, healthCheck: check, protocol, proxyProtocol } = pool;
      if (check === null) continue;
      const tlsDigest = hash('sha256', JSON.stringify(pool.tls));
      for (const backend of backends) {
        const { id, host, port } = backend;
        const tls = backend.tls ? pool.tls : null;
        const key = JSON.stringify([name, id, host, port, check, tls && tlsDigest, protocol, proxyProtocol]);
        const known = this.#checks.get(key);
        const target = () => probeTarget(backend, check, { tls, protocol, proxyProtocol });
        checks.set(key, known ?? new Check(name, id, target(), this.#options));
      }
    }
    return checks;
  }

  #keepOnly(checks: Map<string, Check>): void {
    for (const [key, check] of this.#checks) if (!checks.has(key)) check.stop();
    this.#checks = checks;
  }
}

function firstResults(checks: ReadonlyMap<string, Check>): Promise<unknown> {
  return atMost(Promise.all([...checks.values()].map((check) => check.firstResult)), FIRST_RESULTS_MS);
}

/** nextStartMs is when the probe after one that started at startMs is due. @param randomUnit uniform in [0, 1) */
export function nextStartMs(startMs: number, intervalMs: number, randomUnit: number): number {
  return startMs + intervalMs * (1 - JITTER_RATIO + 2 * JITTER_RATIO * randomUnit);
}

/** Slots bounds the probes under way. The others wait in order; a stopped check that waits gives its slot on at once. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async use(task: () => Promise<void>): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

type CheckOptions = Required<HealthCheckerOptions> & { slots: Slots };

/** One check: probes one backend until stopped. Before it is in force it keeps its newest result to itself. */
class Check {
  /** Resolves with the first result, or, if stopped before it, once its turn has come. */
  readonly firstResult: Promise<void>;
  inForce = false;
  readonly #pool: string;
  readonly #backend: string;
  readonly #target: ProbeTarget;
  readonly #options: CheckOptions;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #held: ProbeResult | null = null;

  constructor(pool: string, backend: string, target: ProbeTarget, options: CheckOptions) {
    this.#pool = pool;
    this.#backend = backend;
    this.#target = target;
    this.#options = options;
    this.firstResult = options.slots.use(this.#probe);
  }

  /** enforce puts the check into force: it reports the result that it has kept, and every later one. */
  enforce(): void {
    this.inForce = true;
    const held = this.#held;
    this.#held = null;
    if (held !== null) this.#report(held);
  }

  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  /** Probes once, reports, and schedules the next probe. Never rejects as long as onResult does not throw. */
  readonly #probe = async (): Promise<void> => {
    if (this.#stopping.signal.aborted) return;
    const { clock, probe } = this.#options;
    const startMs = clock.monotonicMs();
    const atMs = clock.wallMs();
    const outcome = await probe(this.#target, this.#stopping.signal);
    if (this.#stopping.signal.aborted) return;
    const result = { atMs, durationMs: clock.monotonicMs() - startMs, ...outcome };
    // The next probe is scheduled first, so that a listener that throws does not end the check.
    this.#schedule(startMs, outcome);
    if (this.inForce) this.#report(result);
    else this.#held = result;
  };

  #report(result: ProbeResult): void {
    this.#options.onResult(this.#pool, this.#backend, result);
  }

  #schedule(startMs: number, { inconclusive, resolverError }: ProbeOutcome): void {
    const { clock, random } = this.#options;
    const { intervalMs } = this.#target.check;
    const isShortage = inconclusive === true && resolverError === undefined;
    const waitMs = isShortage ? Math.min(intervalMs, SHORTAGE_RETRY_MS) : intervalMs;
    const dueMs = nextStartMs(startMs, waitMs, random());
    this.#timer = setTimeout(
      () => void this.#options.slots.use(this.#probe),
      Math.max(0, dueMs - clock.monotonicMs()),
    );
  }
}
