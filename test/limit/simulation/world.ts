/** A small fleet for stateful tests. Every take of its store is compared with the BigInt model of the script. */
import assert from 'node:assert/strict';
import type { PolicySettings } from '../../../src/contract/settings.ts';
import type { Caller } from '../../../src/limit/caller/identity.ts';
import { Random } from '../../fuzz/random.ts';
import { BucketModel } from '../bucket/bucket-model.ts';
import { assertSameReply } from '../bucket/model-run.ts';
import { callerOf, policyOf } from '../limiter/limiter-lab.ts';
import { Fleet } from './fleet.ts';
import type { Weather } from './link.ts';
import { type BucketSize, MAX_STALL_MS, TIMEOUT_MS } from './scenario.ts';
import type { Execution } from './sim-store.ts';
import { VirtualTime } from './virtual-time.ts';

export interface WorldOptions {
  seed: number;
  size: BucketSize;
  /** A second policy on every request. */
  second: BucketSize | null;
  workers: number;
  leases: boolean;
}

const WEATHER: Weather = {
  minMs: 0.1,
  maxMs: 0.9,
  inOrder: false,
  lostRequests: 0,
  lostReplies: 0,
  slow: 0,
  slowMs: 0,
};
const CALM_MS = 5_000;

export class World {
  readonly time = new VirtualTime();
  readonly fleet: Fleet;
  readonly #callers: Caller[] = [callerOf('first'), callerOf('second')];
  readonly #policies: PolicySettings[];
  readonly #models = new ScriptModels();
  #versionUs = 1_000;
  #calm = false;

  constructor({ seed, size, second, workers, leases }: WorldOptions) {
    this.#policies = [size, ...(second === null ? [] : [second])].map((fields, i) =>
      policyOf({ name: `policy-${i}`, ...fields }),
    );
    this.fleet = new Fleet({
      time: this.time,
      random: new Random(seed),
      machines: 1,
      workersPerMachine: workers,
      weather: WEATHER,
      leases,
      timeoutMs: TIMEOUT_MS,
      lagMs: TIMEOUT_MS + 10 * MAX_STALL_MS,
      policies: this.#policies,
      versionUs: this.#versionUs,
      sabotage: null,
      onTake: (execution) => this.#models.check(execution, this.time.nowMs),
    });
  }

  ask(index: number, { caller, cost, times }: { caller: number; cost: number; times: number }): void {
    const worker = this.fleet.worker(index);
    const asked = { caller: this.#callers[caller] ?? callerOf('first'), policies: this.#policies, cost };
    for (let left = times; left > 0; left--) {
      this.fleet.request(worker, asked, ({ decision, waitedMs }) => {
        assert.ok(waitedMs <= TIMEOUT_MS + 5, `decided after ${waitedMs} ms`);
        assert.ok(!this.#calm || decision.source !== 'local', `${worker.name} decided alone`);
      });
    }
  }

  async pass(ms: number): Promise<void> {
    const { auditor } = this.fleet;
    await this.time.run(this.time.nowMs + ms, () => auditor.afterEvent());
    assert.deepEqual(auditor.complaints, []);
  }

  changeLimits(size: BucketSize, spreadMs: number): void {
    const [first, ...others] = this.#policies;
    if (first === undefined) return;
    this.#policies.splice(0, this.#policies.length, { ...first, ...size }, ...others);
    this.#versionUs += 1_000;
    this.fleet.configure([...this.#policies], this.#versionUs, spreadMs);
  }

  reset(caller: number): void {
    const found = this.#callers[caller];
    if (found !== undefined) this.fleet.resetBuckets(found, this.#policies);
  }

  failOver(lostMs: number): void {
    this.#models.failOver(this.time.nowMs - lostMs);
    this.fleet.failOver(lostMs);
  }

  /** expectCalm lets everything finish and then expects normal service. */
  async expectCalm(): Promise<void> {
    for (const { link } of this.fleet.workers) link.heal();
    this.fleet.changeWeather({}, 0);
    this.fleet.store.refusing = false;
    this.fleet.store.thaw();
    await this.pass(CALM_MS);
    this.#calm = true;
    for (const index of this.fleet.workers.keys()) this.ask(index, { caller: 0, cost: 1, times: 2 });
    await this.pass(1_000);
    this.fleet.expectNobodyWaits();
    this.fleet.auditor.finish();
    assert.deepEqual(this.fleet.auditor.complaints, []);
  }
}

interface Done {
  execution: Execution;
  atMs: number;
}

/** One BigInt model per bucket, which must give the store's answer to every take. */
class ScriptModels {
  readonly #models = new Map<string, BucketModel>();
  #done: Done[] = [];

  check(execution: Execution, atMs: number): void {
    const { request, reply, nowUs } = execution;
    const expected = this.#modelFor(execution).take(request, nowUs);
    assertSameReply(reply, { request, nowUs, reply: expected });
    this.#done.push({ execution, atMs });
  }

  /** The writes after a time are lost: every model is rebuilt from those before. */
  failOver(untilMs: number): void {
    this.#models.clear();
    this.#done = this.#done.filter(({ atMs }) => atMs <= untilMs);
    for (const { execution } of this.#done)
      this.#modelFor(execution).take(execution.request, execution.nowUs);
  }

  /** A bucket missing in the store is a new one here too. */
  #modelFor({ request: { key }, before }: Execution): BucketModel {
    const known = before === null ? undefined : this.#models.get(key);
    if (known !== undefined) return known;
    const model = new BucketModel();
    this.#models.set(key, model);
    return model;
  }
}
