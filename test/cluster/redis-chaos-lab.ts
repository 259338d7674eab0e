/**
 * A whole Sluice under load while a test breaks its Redis. Checks who decided, how long requests waited for the limiter, and
 * what was logged, all from outside: by answers, access lines, log lines and the admin port.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { PROBE_EVERY_MS } from '../../src/limit/store/breaker.ts';
import { type Load, startLoad } from '../support/load.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { askJson, metricOf, poolOf, startNamed, workersOf } from './support.ts';

const WORKERS = 2;
const EACH_WORKER = Array.from({ length: WORKERS }, (_, worker) => worker);
/** `redis.timeout`: more than the default, because the tests, their load and their wire share the machine with Redis. */
const TIMEOUT_MS = 50;
/** The bound of B32. */
const RECOVERY_MS = 5_000;
/** Allowance for a busy machine. A request that really waits for Redis waits longer. */
const MARGIN_MS = PROBE_EVERY_MS;

const AWAY = 'the bucket store is away, limits are kept locally';
const BACK = 'the bucket store is back';
const UP = 'connected to Redis';
const DOWN = 'no connection to Redis, trying again';
const WHY = 'still no connection to Redis, trying again';
const READ_ONLY = 'Redis is read-only, connecting anew';
const WRITABLE = 'Redis takes writes again';
const SILENT = 'this instance cannot announce itself in Redis';

interface Entry {
  msg?: string;
  level?: string;
  /** Absent in lines of the primary. */
  worker?: number;
  status?: number;
  limiterMs?: number;
}

export interface ChaosSteps {
  /** Default: Redis is broken already. */
  breakIt?: () => unknown;
  /** Default: Redis recovers by itself. */
  mend?: () => unknown;
  /** Index of the first log entry that may report the outage; default: the next one. */
  from?: number;
}

/** startChaos starts the product on `redisUrl`, with two workers that share the connections of a load evenly. */
export async function startChaos(t: TestContext, redisUrl: string): Promise<Chaos> {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: {
      workers: WORKERS,
      accept: 'round_robin',
      pools: poolOf([backend]),
      redis: { url: redisUrl, timeout: `${TIMEOUT_MS}ms` },
      // Every request asks the store, and none is refused.
      rateLimit: {
        enabled: true,
        leases: false,
        policies: { default: { capacity: 1_000_000, refillPerSecond: 1_000_000 } },
      },
    },
  });
  t.after(() => sluice.stop());
  const load = startLoad({ url: sluice.proxyUrl, connections: 8, pauseMs: 5 });
  t.after(() => load.stop());
  return new Chaos(sluice, load);
}

class Chaos {
  readonly sluice: SluiceProcess;
  readonly load: Load;
  readonly #entries: Entry[] = [];
  #linesRead = 0;
  /** Longest event loop delay of a worker, from the product's metric. */
  #lateMs = 0;

  constructor(sluice: SluiceProcess, load: Load) {
    this.sluice = sluice;
    this.load = load;
  }

  /** All JSON lines written so far. Each is parsed once. */
  get entries(): readonly Entry[] {
    const { stdout } = this.sluice;
    for (; this.#linesRead < stdout.length; this.#linesRead++) {
      const line = stdout[this.#linesRead] ?? '';
      if (line.startsWith('{')) this.#entries.push(JSON.parse(line) as Entry);
    }
    return this.#entries;
  }

  /** away waits until every worker has logged, since entry `from`, that the store is away, or has not taken it back from before. */
  async away(from: number): Promise<void> {
    const isAway = (worker: number): boolean =>
      this.#isAway(worker) ||
      this.entries.slice(from).some((entry) => entry.worker === worker && entry.msg === AWAY);
    await waitFor(`every worker to log: ${AWAY}`, () => EACH_WORKER.every(isAway), {
      timeoutMs: 4 * RECOVERY_MS,
    });
  }

  /** back waits until every worker has logged last that the store is back. */
  async back(): Promise<void> {
    const isBack = (worker: number): boolean => !this.#isAway(worker);
    await waitFor('every worker to use the store again', () => EACH_WORKER.every(isBack), {
      timeoutMs: RECOVERY_MS,
    });
  }

  #isAway(worker: number): boolean {
    return this.#linesOf(worker, [AWAY, BACK]).at(-1) === AWAY;
  }

  decisions(source: string): Promise<number> {
    return this.#metric('sluice_ratelimit_decisions_total', { source });
  }

  storeCalls(result: string): Promise<number> {
    return this.#metric('sluice_ratelimit_store_calls_total', { result });
  }

  /** storeDecides waits for new decisions by the store. */
  async storeDecides(): Promise<void> {
    const before = await this.decisions('store');
    await this.#told('the store to decide', async () => (await this.decisions('store')) > before + 50);
  }

  /** toldAway waits until metrics and readiness show the outage, and checks that requests are still served. */
  async toldAway(): Promise<void> {
    const [local, skipped] = [await this.decisions('local'), await this.storeCalls('skipped')];
    const { total } = this.load.result;
    await this.#told(
      'metrics to show the outage',
      async () =>
        (await this.decisions('local')) > local &&
        (await this.storeCalls('skipped')) > skipped &&
        (await this.#metric('sluice_ratelimit_breaker_open')) === WORKERS,
    );
    const { status, body } = await askJson(`${this.sluice.adminUrl}/readyz`);
    assert.deepEqual([status, body.degraded], [200, ['redis']]);
    await waitFor('answers', () => this.load.result.total > total + 100);
  }

  /** prove breaks Redis under load, checks the outage, repairs Redis and waits for the recovery. */
  async prove({ breakIt, mend, from = this.entries.length }: ChaosSteps): Promise<void> {
    await breakIt?.();
    await this.away(from);
    if (mend !== undefined) {
      const alone = this.entries.length;
      await this.toldAway();
      // Lines are written in batches, and may come later than the answers.
      await waitFor('access lines of the outage', () => this.#waitsMs(alone).length >= 50);
      const waits = this.#waitsMs(alone).sort((a, b) => a - b);
      const p90Ms = waits[Math.floor(waits.length * 0.9)] ?? assert.fail('no request was served');
      assert.ok(
        p90Ms < TIMEOUT_MS,
        `with an open breaker no request may wait, but one in ten waited ${p90Ms} ms`,
      );
      await mend();
    }
    await this.back();
    await this.storeDecides();
  }

  /** judge ends the load and checks the whole run. */
  async judge(): Promise<void> {
    const served = (await workersOf(this.sluice.adminUrl)).map(({ requestsTotal }) => requestsTotal);
    assert.ok(
      served.every((count) => count > 100),
      `requests of each worker: ${served}`,
    );
    const { statuses, failures } = await this.load.stop();
    await this.back();
    assert.deepEqual([Object.keys(statuses), failures], [['200'], {}]);
    const longestMs = Math.max(...this.#waitsMs(0));
    const allowedMs = TIMEOUT_MS + MARGIN_MS + this.#lateMs;
    assert.ok(
      longestMs <= allowedMs,
      `a request waited ${longestMs} ms for the limiter, more than ${allowedMs}`,
    );
    this.#judgeLines();
  }

  /** One line per change of state, alternating, and no other warning. */
  #judgeLines(): void {
    for (const worker of [0, 1, undefined]) {
      const store = this.#linesOf(worker, [AWAY, BACK]).join('; ');
      if (worker !== undefined) assert.match(store, new RegExp(`^${AWAY}(; ${BACK}; ${AWAY})*(; ${BACK})?$`));
      const connection = this.#linesOf(worker, [UP, DOWN, READ_ONLY, WRITABLE]);
      for (const [i, line] of connection.entries())
        assert.notEqual(line, connection[i - 1], `the same line twice: ${connection.join('; ')}`);
    }
    const known = [AWAY, DOWN, WHY, READ_ONLY, SILENT];
    const others = this.entries.filter(
      ({ level, msg }) =>
        level !== undefined && ['warn', 'error', 'fatal'].includes(level) && !known.includes(msg ?? ''),
    );
    assert.deepEqual(others, []);
  }

  #linesOf(worker: number | undefined, messages: readonly string[]): string[] {
    return this.entries.flatMap((entry) =>
      entry.worker === worker && entry.msg !== undefined && messages.includes(entry.msg) ? [entry.msg] : [],
    );
  }

  #waitsMs(from: number): number[] {
    return this.entries
      .slice(from)
      .flatMap(({ limiterMs }) => (typeof limiterMs === 'number' ? [limiterMs] : []));
  }

  async #metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    return (await metricOf(this.sluice.adminUrl, name, labels)) ?? 0;
  }

  /** Waits for a condition at the admin port, whose numbers are up to a second old. */
  async #told(what: string, probe: () => Promise<boolean>): Promise<void> {
    const probeAll = async (): Promise<boolean> => {
      await this.#lookAtLoops();
      return probe();
    };
    await waitFor(what, probeAll, { everyMs: 50 });
  }

  async #lookAtLoops(): Promise<void> {
    for (const worker of ['0', '1']) {
      const lateMs = 1_000 * (await this.#metric('sluice_event_loop_delay_seconds', { worker }));
      this.#lateMs = Math.max(this.#lateMs, lateMs);
    }
  }
}

export type { Chaos };
