import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeAlgorithm } from '../../src/balance/algorithm.ts';
import { keepBackends } from '../../src/balance/backend.ts';
import { healthCheckSettings } from '../support/settings.ts';
import { countById, makeBackends, makePool, pickIds } from './fixtures.ts';

const CHECK = healthCheckSettings();

test('the algorithm is the pool’s, and the start of the round is the worker’s', () => {
  const options = { workerIndex: 1, workerCount: 2 };
  const robin = makeAlgorithm('round_robin', makeBackends([1, 1]), options);
  assert.deepEqual(pickIds(robin, 4), ['b1', 'b0', 'b1', 'b0']);

  const busy = makeBackends([1, 1]);
  busy[0]!.inFlight = 3;
  const least = makeAlgorithm('least_requests', busy, options);
  assert.deepEqual(countById(pickIds(least, 20)), { b1: 20 });
  assert.equal(least.pick(busy), null);
});

test('B6: a new backend of a pool with a health check gets no request before the primary reports it healthy', () => {
  const checked = keepBackends(makePool([1], { healthCheck: CHECK }), []);
  assert.equal(checked[0]?.rank, 0);
  assert.equal(keepBackends(makePool([1]), [])[0]?.rank, 1);
});

test('a reload keeps the object and state of each backend with the same id and address, and updates its weight', () => {
  const before = keepBackends(makePool([1, 1], { healthCheck: CHECK }), []);
  before[0]!.standing = 'up';
  before[0]!.inFlight = 4;
  before[1]!.standing = 'off';

  const pool = makePool([5, 1, 1], { healthCheck: CHECK });
  const after = keepBackends(pool, before);
  assert.equal(after[0], before[0]);
  assert.equal(after[1], before[1]);
  assert.equal(after[0]?.weight, 5);
  assert.equal(after[0]?.inFlight, 4);
  assert.equal(after[1]?.standing, 'off');
  assert.equal(after[2]?.rank, 0);

  const moved = makePool([5], { healthCheck: CHECK });
  moved.backends[0]!.port = 9999;
  const fresh = keepBackends(moved, after);
  assert.notEqual(fresh[0], after[0]);
  assert.equal(fresh[0]?.standing, 'off');
});

test('a reload that removes the health check makes its backends healthy', () => {
  const before = keepBackends(makePool([1], { healthCheck: CHECK }), []);
  const after = keepBackends(makePool([1]), before);
  assert.equal(after[0], before[0]);
  assert.equal(after[0]?.rank, 1);
});
