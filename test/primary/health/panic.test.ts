import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PoolSettings } from '../../../src/contract/pool-settings.ts';
import { HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import { makePool } from '../workers/fixtures/harness.ts';

/** Backends `0`, `1`, …; those above `primaries` are backups. */
function poolOf(count: number, more: Partial<PoolSettings> = {}, primaries = count): PoolSettings {
  const backends = Array.from({ length: count }, (_, i) => ({
    id: String(i),
    host: '127.0.0.1',
    port: i + 1,
    tls: false,
    weight: 1,
    backup: i >= primaries,
  }));
  return makePool({ backends, ...more });
}

function start(pool: PoolSettings) {
  const registry = new HealthRegistry();
  const told: string[] = [];
  registry.onPanic((name, { panic, healthy, known }) => told.push(`${name} ${panic} ${healthy}/${known}`));
  registry.configure([pool]);
  const probe = (ids: string, ok: boolean, times = 3) => {
    for (const id of ids)
      for (let i = 0; i < times; i++)
        registry.record('app', id, { atMs: 1, ok, durationMs: 1, detail: ok ? 'status 200' : 'timeout' });
  };
  const panic = () => registry.panics()[0]?.panic;
  return { registry, told, probe, panic };
}

test('B5: a pool panics while fewer than 50 % of its backends are healthy, and each begin and end is told once', () => {
  const { told, probe, panic } = start(poolOf(4));
  probe('0123', true);
  probe('01', false);
  assert.equal(panic(), 'no', '50 % is not fewer');
  probe('2', false);
  assert.equal(panic(), 'shared');
  probe('3', false);
  probe('2', true);
  assert.equal(panic(), 'shared');
  probe('3', true);
  assert.equal(panic(), 'no');
  assert.deepEqual(told, ['app shared 1/4', 'app no 2/4']);
});

test('B5: one of two down is no panic, both down is; the only backend of a pool is tried while it is down', () => {
  const two = start(poolOf(2));
  two.probe('01', true);
  two.probe('0', false);
  assert.equal(two.panic(), 'no');
  two.probe('1', false);
  assert.equal(two.panic(), 'shared');
  const one = start(poolOf(1));
  one.probe('0', false, 1);
  assert.equal(one.panic(), 'shared');
});

test('a threshold of 0 turns panic off, and one of 100 makes one backend that is down enough', () => {
  const off = start(poolOf(2, { panicThresholdPercent: 0 }));
  off.probe('01', false);
  assert.equal(off.panic(), 'no');
  const all = start(poolOf(3, { panicThresholdPercent: 100 }));
  all.probe('012', true);
  assert.equal(all.panic(), 'no');
  all.probe('0', false);
  assert.equal(all.panic(), 'shared');
});

test('drained backends have no part in it, and stay drained in a panic', () => {
  const pool = poolOf(4);
  pool.backends[3]!.weight = 0;
  const { registry, probe, panic } = start(pool);
  probe('0123', true);
  probe('0', false);
  assert.equal(panic(), 'no');
  registry.setEnabled('app', '1', false);
  assert.equal(panic(), 'no', 'one of two');
  probe('23', false);
  assert.equal(panic(), 'shared');
  const standings = registry.availability().map(({ standing }) => standing);
  assert.deepEqual(standings, ['out', 'off', 'out', 'off']);
  registry.setEnabled('app', '0', false);
  registry.setEnabled('app', '2', false);
  assert.equal(panic(), 'no', 'nobody is left');
});

test('while nothing but backups is healthy, the others are tried last', () => {
  const { probe, panic } = start(poolOf(4, {}, 3));
  probe('0123', true);
  probe('01', false);
  assert.equal(panic(), 'no');
  probe('2', false);
  assert.equal(panic(), 'last');
  probe('3', false);
  assert.equal(panic(), 'shared');
});

test('B6: first results that are still to come neither begin nor end a panic; a name that never resolved does not count', () => {
  const { registry, told, probe, panic } = start(poolOf(3));
  probe('0', false, 1);
  assert.equal(panic(), 'no', 'two first probes are under way');
  assert.equal(registry.availability()[1]?.standing, 'off', 'and these get nothing');
  probe('1', true, 1);
  probe('2', true, 1);
  assert.deepEqual(told, []);
  probe('12', false);
  assert.equal(panic(), 'shared');
  registry.configure([poolOf(4)]);
  assert.equal(panic(), 'shared', 'a reload adds one without any result');
  const outage = { atMs: 1, ok: false, durationMs: 1, detail: 'EMFILE', inconclusive: true };
  registry.record('app', '3', outage);
  assert.equal(panic(), 'shared');
  assert.deepEqual(told, ['app shared 1/3']);
  const only = start(poolOf(2));
  only.probe('0', false, 1);
  assert.equal(only.panic(), 'no');
  only.registry.record('app', '1', outage);
  assert.equal(only.panic(), 'shared', 'the other one is all there is');
});

test('B5: a pool panics exactly while healthy × 100 is below threshold × backends', () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 0, max: 100 }),
      (ups, threshold) => {
        const { probe, panic } = start(poolOf(ups.length, { panicThresholdPercent: threshold }));
        ups.forEach((ok, i) => {
          probe(String.fromCharCode(48 + i), ok, 1);
        });
        const ids = ups.slice(0, 10);
        if (ids.length < ups.length) return;
        const healthy = ups.filter(Boolean).length;
        assert.equal(panic() !== 'no', (healthy / ups.length) * 100 < threshold);
      },
    ),
  );
});
