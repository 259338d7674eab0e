import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import type { PrimaryMessage } from '../../../src/contract/messages.ts';
import type { OutlierSettings, PoolSettings } from '../../../src/contract/pool-settings.ts';
import type { AskedWorker } from '../../../src/primary/health/ask-workers.ts';
import { Ejections } from '../../../src/primary/health/ejections.ts';
import { HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import { MetricsCollector } from '../../../src/primary/metrics/metrics-collector.ts';
import { waitFor } from '../../support/wait.ts';
import { keepLog, makePool } from '../workers/fixtures/harness.ts';

const OUTLIER: OutlierSettings = {
  consecutiveErrors: 5,
  baseEjectionMs: 30,
  maxEjectionMs: 70,
  maxEjectedPercent: 50,
};

function poolOf(ids: string[], outlier: Partial<OutlierSettings> | null = {}): PoolSettings {
  const backends = ids.map((id, i) => ({
    id,
    host: '127.0.0.1',
    port: i + 1,
    tls: false,
    weight: 1,
    backup: false,
  }));
  return makePool({ backends, healthCheck: null, outlier: outlier && { ...OUTLIER, ...outlier } });
}

/** A worker that says what it has seen: errors, that many ms ago, and its last success. */
class FakeWorker {
  errorsAgoMs: number[] = [];
  okAgoMs: number | null = null;
  asked = 0;
  told: PrimaryMessage[] = [];
  silent = false;
  readonly link = {
    send: (message: PrimaryMessage) => {
      this.told.push(message);
      return true;
    },
    ask: async () => {
      this.asked++;
      if (this.silent) throw new LbError('worker_timeout', 'late');
      return { type: 'backend-results', id: 0, okAgoMs: this.okAgoMs, errorsAgoMs: this.errorsAgoMs };
    },
  } as unknown as AskedWorker;
}

function start(t: TestContext, pools: PoolSettings[], workers = [new FakeWorker()]) {
  const registry = new HealthRegistry();
  const { logger, lines } = keepLog();
  const collector = new MetricsCollector();
  const ejections = new Ejections({
    registry,
    collector,
    links: () => workers.map(({ link }) => link),
    logger,
  });
  t.after(() => ejections.close());
  registry.configure(pools);
  ejections.configure(pools);
  const state = (id: string) => registry.state('app', id);
  const fail = async (id: string, streak = 5) => {
    const asked = workers[0]!.asked;
    workers[0]!.errorsAgoMs = Array(streak).fill(1);
    ejections.noteRequestError({ pool: 'app', backend: id, streak, detail: 'status 500' });
    await waitFor('the workers to be asked', () => workers[0]!.asked > asked);
    await new Promise(setImmediate);
  };
  return { registry, ejections, workers, worker: workers[0]!, lines, collector, state, fail };
}

test('B4: five consecutive errors eject a backend, with reason and end, and then it is back', async (t) => {
  const { state, fail, collector } = start(t, [poolOf(['a', 'b'])]);
  assert.match(await collector.text(), /sluice_ejections_total\{pool="app",backend="a"\} 0\n/);
  await fail('a');
  const { state: name, reason, ejectedUntilMs } = state('a')!;
  assert.deepEqual([name, reason], ['ejected', '5 consecutive errors: status 500']);
  assert.ok(Math.abs(ejectedUntilMs! - Date.now() - 30) < 30);
  assert.match(await collector.text(), /sluice_ejections_total\{pool="app",backend="a"\} 1\n/);
  await waitFor('its return', () => state('a')?.state === 'up');
  assert.equal(state('a')?.ejectedUntilMs, null);
});

test('B4: each ejection takes longer, up to the longest, and a time in without one is forgotten', async (t) => {
  const { state, fail } = start(t, [poolOf(['a', 'b'], { baseEjectionMs: 200, maxEjectionMs: 500 })]);
  const times: number[] = [];
  for (let i = 0; i < 4; i++) {
    await fail('a');
    times.push(Math.round((state('a')!.ejectedUntilMs! - Date.now()) / 100));
    await waitFor('its return', () => state('a')?.state === 'up');
  }
  assert.deepEqual(times, [2, 4, 5, 5]);
  const backMs = performance.now();
  await waitFor('three base ejections in', () => performance.now() - backMs > 650);
  await fail('a');
  assert.deepEqual(Math.round((state('a')!.ejectedUntilMs! - Date.now()) / 100), 4, '4 - 3 + 1 times');
});

test('B4: errors of all workers count together, and a success in any of them between them does not eject', async (t) => {
  const workers = [new FakeWorker(), new FakeWorker(), new FakeWorker()];
  const { state, ejections } = start(t, [poolOf(['a', 'b'])], workers);
  workers[0]!.errorsAgoMs = [40, 20];
  workers[1]!.errorsAgoMs = [30, 10, 5];
  workers[2]!.okAgoMs = 15;
  const tell = async () => {
    for (let i = 0; i < 5; i++)
      ejections.noteRequestError({ pool: 'app', backend: 'a', streak: 2, detail: 'status 500' });
    await new Promise(setImmediate);
  };
  await tell();
  assert.equal(state('a')?.state, 'up', 'two errors since the last success');
  workers[2]!.okAgoMs = 50;
  await tell();
  assert.equal(state('a')?.state, 'ejected');
});

test('B5: the last backend that is up is not ejected, nor more than half of the pool; the worker is told to go on', async (t) => {
  const { state, fail, worker, lines } = start(t, [
    poolOf(['a', 'b', 'c', 'd'], { baseEjectionMs: 60_000, maxEjectionMs: 60_000 }),
  ]);
  await fail('a');
  await fail('b');
  worker.told = [];
  await fail('c');
  assert.equal(state('c')?.state, 'up');
  assert.deepEqual(worker.told.at(-1), {
    type: 'backends',
    states: [{ pool: 'app', backend: 'c', standing: 'up', rampedMs: null }],
    panics: [],
  });
  assert.equal(lines.at(-1)?.problem, '2 are ejected already (maxEjectedPercent 50)');
  const two = start(t, [
    poolOf(['a', 'b'], { maxEjectedPercent: 100, baseEjectionMs: 60_000, maxEjectionMs: 60_000 }),
  ]);
  await two.fail('a');
  await two.fail('b');
  assert.equal(two.state('b')?.state, 'up');
  assert.equal(two.lines.at(-1)?.problem, 'no other backend is up');
  const none = start(t, [poolOf(['a', 'b'], { maxEjectedPercent: 0 })]);
  await none.fail('a');
  assert.equal(none.state('a')?.state, 'up');
  const low = start(t, [poolOf(['a', 'b', 'c'], { maxEjectedPercent: 10 })]);
  await low.fail('a');
  assert.equal(low.state('a')?.state, 'ejected', 'one always may be');
});

test('an ejection lives on over a reload, ends with `outlier`, and a worker that does not answer is left out', async (t) => {
  const pools = [poolOf(['a', 'b'], { baseEjectionMs: 60_000, maxEjectionMs: 60_000 })];
  const silent = new FakeWorker();
  silent.silent = true;
  const { state, fail, registry, ejections } = start(t, pools, [new FakeWorker(), silent]);
  const reload = (next: PoolSettings[]) => {
    registry.configure(next);
    ejections.configure(next);
  };
  await fail('a');
  reload(pools);
  assert.equal(state('a')?.state, 'ejected');
  ejections.noteRequestError({ pool: 'app', backend: 'a', streak: 5, detail: 'late' });
  reload([poolOf(['a', 'b'], null)]);
  assert.equal(state('a')?.state, 'up');
  reload(pools);
  assert.equal(state('a')?.state, 'up');
});

test('B5: an ejected backend counts as not healthy: its pool may panic, and a backend that is down as well is shown as down', async (t) => {
  const pool = { ...poolOf(['a', 'b', 'c']), healthCheck: makePool().healthCheck };
  const { registry, state, fail } = start(t, [pool]);
  for (const id of 'abc') registry.record('app', id, { atMs: 1, ok: true, durationMs: 1, detail: '' });
  await fail('a');
  assert.equal(registry.panics()[0]?.panic, 'no');
  for (let i = 0; i < 3; i++) registry.record('app', 'b', { atMs: 1, ok: false, durationMs: 1, detail: '' });
  assert.equal(registry.panics()[0]?.panic, 'shared');
  for (let i = 0; i < 3; i++) registry.record('app', 'a', { atMs: 1, ok: false, durationMs: 1, detail: '' });
  assert.equal(state('a')?.state, 'down');
  await waitFor('the end of the ejection', () => state('a')?.ejectedUntilMs === null);
  assert.equal(state('a')?.state, 'down', 'a probe that failed meanwhile keeps it out');
});

test('a backend that cannot be ejected is asked about once a second, and logged once in the time of an ejection', async (t) => {
  const { ejections, worker, lines, fail } = start(t, [poolOf(['a'], { baseEjectionMs: 60_000 })]);
  const startMs = performance.now();
  await fail('a');
  for (let i = 0; i < 1_000; i++) {
    ejections.noteRequestError({ pool: 'app', backend: 'a', streak: 5, detail: 'status 500' });
    await new Promise(setImmediate);
  }
  const tookMs = performance.now() - startMs;
  assert.ok(worker.asked <= 1 + tookMs / 1_000, `asked ${worker.asked} times in ${tookMs} ms`);
  await waitFor('the second question', () => {
    ejections.noteRequestError({ pool: 'app', backend: 'a', streak: 5, detail: 'status 500' });
    return worker.asked >= 2;
  });
  await new Promise(setImmediate);
  assert.equal(lines.filter(({ problem }) => problem === 'no other backend is up').length, 1);
});
