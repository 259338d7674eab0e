import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PoolSettings } from '../../../src/contract/pool-settings.ts';
import { HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import { FakeTime } from '../../support/fake-time.ts';
import { makePool } from '../workers/fixtures/harness.ts';

const backend = (id: string, weight = 1) => ({
  id,
  host: '127.0.0.1',
  port: id.charCodeAt(0),
  tls: false,
  weight,
  backup: false,
});

function start(...pools: PoolSettings[]) {
  const time = new FakeTime();
  const registry = new HealthRegistry(time.clock);
  registry.configure(pools);
  const probe = (id: string, ...oks: boolean[]) => {
    for (const ok of oks) registry.record('app', id, { atMs: 1, ok, durationMs: 1, detail: '' });
  };
  const ramped = (id: string) => registry.availability().find((each) => each.backend === id)?.rampedMs;
  return { time, registry, probe, ramped };
}

const SLOW = { slowStartMs: 30_000 };

test('B7: there is no slow start with the process, but one for each backend that recovers later', () => {
  const { time, registry, probe, ramped } = start(
    makePool({ ...SLOW, backends: [backend('a'), backend('b')] }),
  );
  time.pass(1_000);
  probe('a', true);
  probe('b', false);
  assert.equal(ramped('a'), null);
  probe('b', true, true);
  assert.equal(ramped('b'), 0, 'it was down at first');
  time.pass(10_000);
  assert.equal(ramped('b'), 10_000, 'what a worker is told that starts now');
  registry.configure([makePool({ ...SLOW, backends: [backend('a'), backend('b')] })]);
  assert.deepEqual([ramped('a'), ramped('b')], [null, 10_000], 'a reload changes nothing');
  time.pass(20_000);
  assert.equal(ramped('b'), null, 'it has risen');
  probe('a', false, false, false);
  assert.equal(ramped('a'), null);
  probe('a', true, true);
  assert.equal(ramped('a'), 0);
});

test('B7: a backend that is enabled again, not ejected any more, or added by a reload begins to rise', () => {
  const settings = (more: PoolSettings['backends'] = []) =>
    makePool({
      ...SLOW,
      healthCheck: null,
      outlier: { consecutiveErrors: 5, baseEjectionMs: 1, maxEjectionMs: 1, maxEjectedPercent: 50 },
      backends: [backend('a'), ...more],
    });
  const { time, registry, ramped } = start(settings([backend('z', 0)]));
  time.pass(1_000);
  assert.equal(ramped('a'), null);
  registry.setEnabled('app', 'a', false);
  registry.setEnabled('app', 'a', true);
  assert.equal(ramped('a'), 0);
  time.pass(40_000);
  registry.setEjection('app', 'a', { ejectionReason: 'errors', ejectedUntilMs: 1, timesEjected: 1 });
  registry.setEjection('app', 'a', null);
  assert.equal(ramped('a'), 0);
  time.pass(5_000);
  registry.configure([settings([backend('b'), backend('z', 1)])]);
  assert.deepEqual([ramped('a'), ramped('b'), ramped('z')], [5_000, 0, 0]);
});

test('B7: an added backend with a health check begins to rise with its first good probe; without slowStart nothing rises', () => {
  const { time, registry, probe, ramped } = start(makePool({ ...SLOW, backends: [backend('a')] }));
  probe('a', true);
  time.pass(1_000);
  registry.configure([makePool({ ...SLOW, backends: [backend('a'), backend('b')] })]);
  time.pass(1_000);
  assert.equal(ramped('b'), null);
  probe('b', true);
  assert.equal(ramped('b'), 0);
  registry.configure([makePool({ backends: [backend('a'), backend('b')] })]);
  assert.equal(ramped('b'), null);
});
