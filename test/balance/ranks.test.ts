/** Weight 0 and backups, which both algorithms treat alike. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeAlgorithm } from '../../src/balance/algorithm.ts';
import { keepBackends } from '../../src/balance/backend.ts';
import type { PoolSettings } from '../../src/contract/pool-settings.ts';
import { countById, makePool, pickIds } from './fixtures.ts';

const WORKER = { workerIndex: 0, workerCount: 1 };

for (const balance of ['round_robin', 'least_requests'] as const) {
  const algorithmOf = (pool: PoolSettings) => {
    const backends = keepBackends(pool, []);
    return { backends, algorithm: makeAlgorithm(balance, backends, WORKER) };
  };

  test(`${balance}: a backend of weight 0 is never picked, and one with a weight again is`, () => {
    const { backends, algorithm } = algorithmOf(makePool([0, 1, 1]));
    assert.equal(countById(pickIds(algorithm, 100)).b0, undefined);
    assert.equal(algorithm.pick(backends.slice(1)), null, 'it is no last resort');
    assert.equal(algorithmOf(makePool([0, 0])).algorithm.pick([]), null);
    const again = makeAlgorithm(balance, keepBackends(makePool([2, 1, 1]), backends), WORKER);
    assert.ok(Math.abs(countById(pickIds(again, 400)).b0! - 200) < 80);
  });

  test(`${balance}: a backup is picked only while no other backend can be`, () => {
    const pool = makePool([1, 1, 5, 0]);
    for (const settings of pool.backends.slice(2)) settings.backup = true;
    const { backends, algorithm } = algorithmOf(pool);
    const picked = () => Object.keys(countById(pickIds(algorithm, 40))).sort();
    assert.deepEqual(picked(), ['b0', 'b1']);
    assert.equal(algorithm.pick(backends.slice(0, 2))?.id, 'b2', 'a further try may go to it');
    backends[0]!.standing = 'off';
    assert.deepEqual(picked(), ['b1']);
    backends[1]!.standing = 'off';
    assert.deepEqual(picked(), ['b2']);
    backends[2]!.standing = 'off';
    assert.deepEqual(picked(), ['none']);
    backends[1]!.standing = 'up';
    assert.deepEqual(picked(), ['b1']);
  });
}

test('B1: backends of weight 0 and backups have no part in the start of the round', () => {
  const pool = makePool([0, 5, 1, 2, 9]);
  pool.backends[4]!.backup = true;
  const round = (startShare: number) =>
    pickIds(
      makeAlgorithm('round_robin', keepBackends(pool, []), { workerIndex: startShare, workerCount: 8 }),
      8,
    );
  for (let k = 0; k < 8; k++) assert.deepEqual(round(k), [...round(0).slice(k), ...round(0).slice(0, k)]);
});

test('B11: requests that wait are told when a backend has room, is preferred again, or need not be waited for', () => {
  const [backend] = keepBackends(makePool([1]), []);
  assert.ok(backend !== undefined);
  let told = 0;
  backend.onRoom = () => {
    told += 1;
  };
  const tells = (change: () => void) => {
    const before = told;
    change();
    return told - before;
  };
  backend.limit = 1;
  assert.equal(
    tells(() => backend.enter()),
    0,
  );
  for (const standing of ['off', 'up'] as const)
    assert.equal(
      tells(() => {
        backend.standing = standing;
      }),
      standing === 'off' ? 1 : 0,
      'nobody waits for a backend that is down',
    );
  assert.equal(
    tells(() => {
      backend.doubted = true;
    }),
    1,
    'nor for one that probably fails',
  );
  assert.equal(
    tells(() => backend.leave()),
    1,
  );
  assert.equal(
    tells(() => {
      backend.doubted = false;
    }),
    1,
    'it is preferred again',
  );
});
