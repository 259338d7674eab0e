import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { type Clock, systemClock } from '../../../src/contract/clock.ts';
import type { ProbeResult } from '../../../src/contract/health.ts';
import type { HealthCheckSettings, PoolSettings } from '../../../src/contract/pool-settings.ts';
import {
  HealthChecker,
  type HealthCheckerOptions,
  nextStartMs,
} from '../../../src/primary/health/health-checker.ts';
import { HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import type { Probe } from '../../../src/primary/health/probe.ts';
import { startBackend } from '../../support/backend.ts';
import { healthCheckSettings } from '../../support/settings.ts';
import { waitFor, within } from '../../support/wait.ts';
import { makePool } from '../workers/fixtures/harness.ts';

const FAST = healthCheckSettings({ intervalMs: 60, timeoutMs: 50 });

function poolAt(ports: number[], check: Partial<HealthCheckSettings> = {}, name = 'app'): PoolSettings {
  return makePool({
    name,
    backends: ports.map((port, i) => ({
      id: `b${i}`,
      host: '127.0.0.1',
      port,
      tls: false,
      weight: 1,
      backup: false,
    })),
    healthCheck: { ...FAST, ...check },
  });
}

function startChecker(t: TestContext, options: Partial<HealthCheckerOptions> = {}) {
  const results: { pool: string; backend: string; result: ProbeResult }[] = [];
  const checker = new HealthChecker({
    clock: systemClock,
    random: Math.random,
    onResult: (pool, backend, result) => results.push({ pool, backend, result }),
    ...options,
  });
  t.after(() => checker.close());
  return { checker, results };
}

/** A clock that the test moves together with the mocked timers. */
function fakeTime(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 0;
  const clock: Clock = { monotonicMs: () => nowMs, wallMs: () => 1_000_000 + nowMs };
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const advance = async (ms: number) => {
    for (let i = 0; i < ms; i++) {
      nowMs++;
      t.mock.timers.tick(1);
      await settle();
    }
  };
  const advanceUntil = async (done: () => boolean, description: string) => {
    for (let i = 0; !done(); i++) {
      assert.ok(i < 60_000, `a minute passed in vain: ${description}`);
      await advance(1);
    }
  };
  return { clock, advance, advanceUntil, nowMs: () => nowMs };
}

test('the interval from start to start is within 10 % of the setting, both ends reached', () => {
  assert.equal(nextStartMs(1000, 2000, 0), 2800);
  assert.equal(nextStartMs(1000, 2000, 0.5), 3000);
  assert.ok(nextStartMs(1000, 2000, 1 - 2 ** -53) > 3199.999);
  const interval = fc.integer({ min: 1, max: 3_600_000 });
  fc.assert(
    fc.property(
      interval,
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (intervalMs, unit) => {
        const gapMs = nextStartMs(0, intervalMs, unit);
        assert.ok(gapMs >= intervalMs * 0.9 - 1e-6 && gapMs <= intervalMs * 1.1 + 1e-6);
      },
    ),
  );
});

test('intervals run from start to start, however long a probe takes', async (t) => {
  const { clock, advance, nowMs } = fakeTime(t);
  const startsMs: number[] = [];
  const probe: Probe = () => {
    startsMs.push(nowMs());
    return new Promise((resolve) => setTimeout(() => resolve({ ok: true, detail: 'slow' }), 900));
  };
  const { checker, results } = startChecker(t, { clock, random: () => 0.5, probe });
  void checker.reconfigure([makePool()]);
  await advance(6950);
  assert.deepEqual(startsMs, [0, 2000, 4000, 6000]);
  assert.deepEqual(
    results.map(({ result }) => [result.atMs, result.durationMs]),
    [
      [1_000_000, 900],
      [1_002_000, 900],
      [1_004_000, 900],
      [1_006_000, 900],
    ],
  );
});

test('a probe for which this machine lacked a descriptor is repeated after a second, an unresolved name at its interval', async (t) => {
  const { clock, advance, nowMs } = fakeTime(t);
  const startsMs = new Map<string, number[]>([
    ['short', []],
    ['unresolved', []],
  ]);
  const probe: Probe = async ({ host }) => {
    const starts = startsMs.get(host) ?? assert.fail(host);
    starts.push(nowMs());
    const outcome = { ok: false, detail: host, inconclusive: true };
    if (host === 'unresolved') return { ...outcome, resolverError: 'EAI_AGAIN' };
    return starts.length === 1 ? outcome : { ok: true, detail: 'status 200' };
  };
  const { checker } = startChecker(t, { clock, random: () => 0.5, probe });
  const backends = [...startsMs.keys()].map((host) => ({
    id: host,
    host,
    port: 1,
    tls: false,
    weight: 1,
    backup: false,
  }));
  const healthCheck = healthCheckSettings({ intervalMs: 60_000, timeoutMs: 50 });
  void checker.reconfigure([makePool({ backends, healthCheck })]);
  await advance(62_000);
  assert.deepEqual(startsMs.get('short'), [0, 1_000, 61_000]);
  assert.deepEqual(startsMs.get('unresolved'), [0, 60_000]);
});

test('B3: a backend that stops answering is down after at most fall × 1.1 × interval + timeout, and up after 2 good probes', async (t) => {
  const { clock, advance, advanceUntil, nowMs } = fakeTime(t);
  const random = () => fc.sample(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), 1)[0] ?? 0;
  for (let round = 0; round < 6; round++) {
    let answering = true;
    let goodCount = 0;
    const probe: Probe = async ({ check }) => {
      if (answering) {
        goodCount++;
        return { ok: true, detail: 'status 200' };
      }
      return new Promise((resolve) =>
        setTimeout(() => resolve({ ok: false, detail: 'timeout' }), check.timeoutMs),
      );
    };
    const registry = new HealthRegistry();
    registry.configure([makePool()]);
    const onResult = registry.record.bind(registry);
    const { checker } = startChecker(t, {
      clock,
      random: round === 0 ? () => 0.999999 : random,
      probe,
      onResult,
    });
    const healthy = () => registry.state('app', 'b0')?.health === 'up';
    void checker.reconfigure([makePool()]);
    await advance(round * 700);
    assert.ok(healthy());
    answering = false;
    const diedAtMs = nowMs();
    await advanceUntil(() => !healthy(), 'it is out');
    // A mocked timer fires at the next whole millisecond: one extra for each of the three probes.
    assert.ok(nowMs() - diedAtMs <= 3 * 1.1 * 2000 + 1000 + 3, `out after ${nowMs() - diedAtMs} ms`);
    answering = true;
    goodCount = 0;
    await advanceUntil(healthy, 'it is back');
    assert.equal(goodCount, 2);
    checker.close();
  }
});

test('each backend is probed repeatedly, and its results are reported', async (t) => {
  let status = 200;
  const backend = await startBackend((_, response) => response.writeHead(status).end());
  t.after(() => backend.close());
  const { checker, results } = startChecker(t);
  await within(checker.reconfigure([poolAt([backend.port], { timeoutMs: 2000 })]), 5000, 'the first round');
  assert.equal(results[0]?.result.detail, 'status 200');
  status = 500;
  await waitFor('a failed probe to be reported', () => results.at(-1)?.result.detail === 'status 500');
  status = 204;
  await waitFor('a passed probe to be reported', () => results.at(-1)?.result.detail === 'status 204');
  assert.ok(results.every(({ pool, backend: id }) => pool === 'app' && id === 'b0'));
});

test('B6: the first round ends when every check has its first result or has timed out', async (t) => {
  const good = await startBackend((_, response) => response.end());
  const hung = await startBackend(() => undefined);
  t.after(() => Promise.all([good.close(), hung.close()]));
  const { checker, results } = startChecker(t);
  const pools = [
    poolAt([good.port, hung.port], { timeoutMs: 300, intervalMs: 60_000 }),
    poolAt([good.port], { type: 'tcp', timeoutMs: 300, intervalMs: 60_000 }, 'tcp'),
    makePool({ name: 'unchecked', healthCheck: null }),
  ];
  await within(checker.reconfigure(pools), 5000, 'the first round ends');
  const told = results.map(({ pool, backend, result }) => `${pool}/${backend} ${result.detail}`);
  assert.deepEqual(told.sort(), ['app/b0 status 200', 'app/b1 timeout', 'tcp/b0 connected']);
});

test('without checks the first round ends at once', async (t) => {
  const { checker, results } = startChecker(t);
  await within(checker.reconfigure([makePool({ healthCheck: null })]), 1000, 'with nothing to check');
  assert.equal(results.length, 0);
});

test('a reload stops the checks of removed backends, starts those of new ones and does not disturb the others', async (t) => {
  const { clock, advance, nowMs } = fakeTime(t);
  const startsMs: Record<string, number[]> = {};
  const probe: Probe = async ({ port }) => {
    startsMs[port] ??= [];
    startsMs[port].push(nowMs());
    return { ok: true, detail: 'connected' };
  };
  const { checker, results } = startChecker(t, { clock, random: () => 0.5, probe });
  const at = (ports: number[], check = {}) => poolAt(ports, { intervalMs: 1000, ...check });
  await checker.reconfigure([at([1, 2, 3])]);
  await advance(1500);
  // Port 1 stays, port 2 becomes 4 under the same id, port 3 is removed; weights do not matter to the checker.
  const next = at([1, 4]);
  next.backends[0]!.weight = 9;
  await checker.reconfigure([next]);
  const told = results.length;
  await advance(1000);
  assert.deepEqual(startsMs, { 1: [0, 1000, 2000], 2: [0, 1000], 3: [0, 1000], 4: [1500, 2500] });
  assert.deepEqual([...new Set(results.slice(told).map(({ backend }) => backend))].sort(), ['b0', 'b1']);
  await checker.reconfigure([at([1, 4], { intervalMs: 500 })]);
  await advance(500);
  assert.deepEqual(startsMs[1], [0, 1000, 2000, 2500, 3000], 'a changed check starts anew');
  await checker.reconfigure([]);
  await advance(2000);
  assert.equal(startsMs[1]?.length, 5);
});

test('a stopped check reports nothing, and the first round does not wait for it', async (t) => {
  const hung = await startBackend(() => undefined);
  t.after(() => hung.close());
  const { checker, results } = startChecker(t);
  const round = checker.reconfigure([poolAt([hung.port], { timeoutMs: 60_000, intervalMs: 60_000 })]);
  await waitFor('the probe is under way', () => hung.requestCount === 1);
  await within(checker.reconfigure([]), 5000, 'the new round is over');
  await within(round, 5000, 'the old round is over');
  const second = checker.reconfigure([poolAt([hung.port], { timeoutMs: 60_000, intervalMs: 60_000 })]);
  await waitFor('the next probe is under way', () => hung.requestCount === 2);
  checker.close();
  await within(second, 5000, 'closing ends the round');
  assert.equal(results.length, 0);
});

test('checks of the next revision run beside the current ones, and report when that revision is in force', async (t) => {
  const { clock, advance, nowMs } = fakeTime(t);
  const startsMs: Record<string, number[]> = {};
  const probe: Probe = async ({ port }) => {
    startsMs[port] ??= [];
    startsMs[port].push(nowMs());
    return { ok: port !== 2, detail: `port ${port}` };
  };
  const { checker, results } = startChecker(t, { clock, random: () => 0.5, probe });
  const at = (ports: number[]) => poolAt(ports, { intervalMs: 1000 });
  await checker.reconfigure([at([1])]);
  await advance(100);
  await checker.prepare([at([1, 2])]);
  assert.deepEqual(
    results.map(({ result }) => result.detail),
    ['port 1'],
    'nothing is reported for checks that are not in force',
  );
  await advance(1000);
  await checker.reconfigure([at([1, 2])]);
  assert.equal(results.at(-1)?.backend, 'b1');
  assert.deepEqual(startsMs, { 1: [0, 1000], 2: [100, 1100] }, 'each keeps its schedule');
  await checker.prepare([at([1, 3])]);
  await checker.prepare([at([1, 4])]);
  await checker.reconfigure([at([1])]);
  await advance(5000);
  const abandoned: Record<string, number[]> = startsMs;
  assert.deepEqual(
    [abandoned[3]?.length, abandoned[4]?.length],
    [1, 1],
    'what never came into force has stopped',
  );
});

test('no more than maxProbes probes are under way, each check has its turn, and a stopped one does not probe', async (t) => {
  const open: { port: number; end: () => void }[] = [];
  let most = 0;
  const probe: Probe = ({ port }, signal) => {
    const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<Probe>>>();
    const end = () => {
      open.splice(open.indexOf(entry), 1);
      resolve({ ok: true, detail: 'status 200' });
    };
    const entry = { port, end };
    most = Math.max(most, open.push(entry));
    signal.addEventListener('abort', end, { once: true });
    return promise;
  };
  const { checker, results } = startChecker(t, { probe, maxProbes: 2 });
  const ports = [1, 2, 3, 4, 5];
  const first = checker.reconfigure([poolAt(ports, { intervalMs: 60_000 })]);
  // The third check leaves while it waits for its turn.
  void checker.reconfigure([poolAt([1, 2, 4, 5], { intervalMs: 60_000 })].map(keepIds(ports)));
  const probed = new Set<number>();
  while (probed.size < 4) {
    await waitFor('a probe that is under way', () => open.length > 0);
    const next = open[0] as (typeof open)[number];
    probed.add(next.port);
    next.end();
  }
  await within(first, 5_000, 'the first round');
  assert.deepEqual([...probed], [1, 2, 4, 5]);
  assert.equal(most, 2);
  assert.deepEqual(
    results.map(({ backend }) => backend),
    ['b0', 'b1', 'b3', 'b4'],
  );
});

/** Gives each backend the id that it had in a pool of all ports. */
function keepIds(ports: number[]) {
  return (pool: PoolSettings): PoolSettings => ({
    ...pool,
    backends: pool.backends.map((backend) => ({ ...backend, id: `b${ports.indexOf(backend.port)}` })),
  });
}
