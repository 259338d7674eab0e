/** Requests whose clients and backends do anything, in random order: each ends once, and every count is back. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { SlowStart } from '../../../src/balance/slow-start.ts';
import { systemClock } from '../../../src/contract/clock.ts';
import { DeadlineTimer } from '../../../src/infra/deadline-timer.ts';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { wiresOf } from '../../../src/infra/wire/wire-choice.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import { Handler } from '../../../src/proxy/handler.ts';
import { LiveRequests } from '../../../src/proxy/live-requests.ts';
import { Overload } from '../../../src/proxy/overload.ts';
import { Plan, type PlanDeps } from '../../../src/proxy/plan.ts';
import { RequestAudit } from '../../../src/proxy/request-audit.ts';
import { keptTotalBytes } from '../../../src/upstream/kept-body.ts';
import { Random } from '../../fuzz/random.ts';
import { routeSettings, workerSettings } from '../../support/settings.ts';
import { dataPath } from '../support.ts';
import { IDS, randomPool } from './random-pool.ts';
import { ScriptedAttempt } from './scripted-attempt.ts';
import { ScriptedClient } from './scripted-client.ts';

const CLIENTS_MAX = 30;
const STEPS = 3_000;
/** More than any wait. */
const LONG_MS = 5_000;
const nothing = () => undefined;

/** A proxy without sockets, whose time the test moves. */
class World {
  readonly random: Random;
  readonly faults: unknown[] = [];
  readonly open = new Set<ScriptedAttempt>();
  readonly clients = new Set<ScriptedClient>();
  requestCount = 0;
  lineCount = 0;
  readonly timer: DeadlineTimer;
  readonly handler: Handler;
  readonly overload: Overload;
  readonly plans: Plan[] = [];
  readonly #timers: TestContext['mock']['timers'];
  readonly #deps: PlanDeps;
  readonly #protocol: 'http1' | 'h2';
  #passedMs = 0;

  constructor(t: TestContext, seed: number) {
    this.#timers = t.mock.timers;
    this.random = new Random(seed);
    this.#protocol = this.random.pick(['http1', 'h2']);
    const clock = {
      monotonicMs: () => systemClock.monotonicMs() + this.#passedMs,
      wallMs: () => systemClock.wallMs() + this.#passedMs,
    };
    const onFault = (error: unknown): void => void this.faults.push(error);
    this.timer = new DeadlineTimer({ clock, onError: onFault });
    const metrics = new WorkerMetrics();
    const own = { timer: this.timer, metrics };
    const events = { onFault, onConnectFailure: nothing, onRequestError: nothing };
    const byAddress = (_address: string, grouped: string) => ({
      client: null,
      bucketName: grouped,
      tombstoneUs: 0,
    });
    const keys = { verify: () => 'unknown' as const, byName: () => null };
    const lookup = { ...keys, generation: 1, nowSec: 1, noteSeen: nothing, byAddress };
    const place = { workerIndex: 0, workerCount: 1 };
    const slowStart = new SlowStart(this.timer);
    // No request is limited.
    const limiter = {} as PlanDeps['limiter'];
    this.#deps = {
      tracing: null,
      limiter,
      ...own,
      ...events,
      ...place,
      slowStart,
      lookup,
      wires: wiresOf(dataPath.wire),
    };
    this.overload = new Overload(metrics);
    this.reload();
    const logger = makeLogger({ level: 'fatal', format: 'json' });
    const accessLog = { write: () => (this.lineCount += 1) };
    const challenges = new Map<string, string>();
    const { overload } = this;
    this.handler = new Handler({
      live: new LiveRequests(() => true),
      audit: new RequestAudit({ metrics, send: () => false }),
      ...own,
      plan: () => this.plan,
      logger,
      accessLog,
      challenges,
      overload,
    });
  }

  get plan(): Plan {
    return this.plans.at(-1) ?? assert.fail();
  }

  reload(): void {
    const pool = randomPool(this.random, this.#protocol);
    const previous = this.plans.at(-1) ?? null;
    const plan = new Plan(
      workerSettings({
        pools: [pool],
        routes: [routeSettings('default')],
        limits: { bodyBytes: 1_048_576, bodyMinRate: this.random.pick([0, 100]) },
        timeouts: { bodyIdleMs: 700 },
      }),
      previous,
      this.#deps,
    );
    for (const target of plan.backends())
      target.connections = {
        ...{ openCount: 0, parkedCount: 0, isExclusive: true, closeParked: () => false },
        close: nothing,
        start: (request, sink) => new ScriptedAttempt(request, sink, this).exchange,
      };
    this.plans.push(plan);
    previous?.supersede(plan);
  }

  pass(ms: number): void {
    this.#passedMs += ms;
    this.#timers.tick(ms);
    this.timer.tick();
  }

  learn(backends: string[], standing: 'up' | 'out' | 'off', panic: 'no' | 'shared'): void {
    const states = backends.map((backend) => ({
      pool: 'app',
      backend,
      standing,
      rampedMs: null,
    }));
    this.plan.learn({ panics: [{ pool: 'app', panic }], states });
  }

  step(mayArrive: boolean): void {
    const { random, clients, open } = this;
    for (const client of clients) if (client.isOver) clients.delete(client);
    const what = random.below(100);
    if (what < 20 && mayArrive && clients.size < CLIENTS_MAX) {
      const client = new ScriptedClient(random);
      clients.add(client);
      this.requestCount += 1;
      this.handler.handle(client);
    } else if (what < 60 && open.size > 0) random.pick([...open]).step();
    else if (what < 90 && clients.size > 0) random.pick([...clients]).step();
    else if (what < 96) this.pass(random.pick([1, 20, 100, 300]));
    else if (what === 96)
      this.learn(
        [random.pick(IDS)],
        random.pick(['up', 'up', 'up', 'out', 'off']),
        random.pick(['no', 'shared']),
      );
    else if (what === 97 && mayArrive && random.oneIn(3)) this.reload();
    else if (what === 98) this.overload.set(random.pick(['none', 'shedding']), random.pick([0, 1.2]));
  }
}

function run(t: TestContext, seed: number): void {
  const world = new World(t, seed);
  for (let i = 0; i < STEPS; i++) world.step(true);
  world.learn(IDS, 'up', 'no');
  for (let i = 0; i < 10 * STEPS && world.clients.size > 0; i++) world.step(false);
  world.pass(LONG_MS);
  world.pass(LONG_MS);
  assert.deepEqual(world.faults, []);
  assert.equal(world.handler.traffic.inFlight, 0, 'requests that never end');
  assert.equal(world.lineCount, world.requestCount);
  assert.equal(world.open.size, 0, 'attempts that go on');
  for (const plan of world.plans)
    for (const { backend } of plan.backends())
      assert.deepEqual([backend.inFlight, backend.busy, backend.awaited], [0, 0, 0], `backend ${backend.id}`);
  const pool = world.plan.router.find('a', '/', 'GET')?.pool ?? assert.fail();
  assert.equal(pool.budget.active, 0);
  assert.deepEqual([pool.budget.take(), pool.budget.take()], [true, false], 'permits');
  assert.equal(keptTotalBytes(), 0);
  assert.equal(world.timer.size, 0, 'deadlines');
  assert.ok(world.plans.slice(0, -1).every(({ isOver }) => isOver));
}

test('whatever clients and backends do, each request ends once, and every count is back', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (let seed = 0; seed < Number(process.env.ENDS_SEEDS ?? 10); seed++)
    try {
      run(t, seed);
    } catch (thrown) {
      throw new Error(`seed ${seed}`, { cause: thrown });
    }
});
