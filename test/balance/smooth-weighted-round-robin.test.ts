import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SmoothWeightedRoundRobin } from '../../src/balance/smooth-weighted-round-robin.ts';
import { countById, makeBackends, pickIds } from './fixtures.ts';

test('B1: weights 3:1 give exactly 300 and 100 of 400 picks, never more than 3 in a row', () => {
  for (const startShare of [0, 0.25, 0.5, 0.75]) {
    const ids = pickIds(new SmoothWeightedRoundRobin(makeBackends([3, 1]), startShare), 400);
    assert.deepEqual(countById(ids), { b0: 300, b1: 100 }, `start ${startShare}`);
    assert.doesNotMatch(ids.join(''), /(b0){4}|(b1){2}/, `start ${startShare}`);
  }
});

test('B1: worker k of n starts its round k/n of the way, so that workers do not herd on the first backend', () => {
  const round = pickIds(new SmoothWeightedRoundRobin(makeBackends([5, 1, 2]), 0), 8);
  for (let k = 0; k < 8; k++) {
    const ids = pickIds(new SmoothWeightedRoundRobin(makeBackends([5, 1, 2]), k / 8), 8);
    assert.deepEqual(ids, [...round.slice(k), ...round.slice(0, k)], `worker ${k}`);
  }
  const firsts = [0, 1, 2, 3].map((k) =>
    pickIds(new SmoothWeightedRoundRobin(makeBackends([1, 1, 1, 1]), k / 4), 1),
  );
  assert.deepEqual(firsts.flat(), ['b0', 'b1', 'b2', 'b3']);
});

test('B1: a worker that starts before any backend is known to be healthy starts its round at the same place', () => {
  const backends = makeBackends([5, 1, 2]);
  for (const backend of backends) backend.standing = 'off';
  const balancer = new SmoothWeightedRoundRobin(backends, 3 / 8);
  for (const backend of backends) backend.standing = 'up';
  const healthy = new SmoothWeightedRoundRobin(makeBackends([5, 1, 2]), 3 / 8);
  assert.deepEqual(pickIds(balancer, 8), pickIds(healthy, 8));
});

test('computing the start offset of a very long round takes bounded work', () => {
  const weights = Array.from({ length: 300 }, (_, i) => 999_983 - i);
  const balancer = new SmoothWeightedRoundRobin(makeBackends(weights), 0.99);
  assert.notEqual(balancer.pick([]), null);
});

test('in every window of picks, each backend is within one pick of its weight’s share', () => {
  const weights = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(weights, fc.double({ min: 0, max: 0.99, noNaN: true }), (list, startShare) => {
      const balancer = new SmoothWeightedRoundRobin(makeBackends(list), startShare);
      const total = list.reduce((sum, weight) => sum + weight, 0);
      const counts = countById(pickIds(balancer, total * 2));
      list.forEach((weight, i) => {
        assert.equal(counts[`b${i}`], weight * 2);
      });
    }),
  );
});

test('when a backend is removed the others get its share by weight, and it returns without a burst', () => {
  const backends = makeBackends([4, 2, 1]);
  const balancer = new SmoothWeightedRoundRobin(backends, 0);
  pickIds(balancer, 9);
  backends[0]!.standing = 'off';
  const without = countById(pickIds(balancer, 300));
  assert.equal(without.b0, undefined);
  assert.ok(Math.abs(without.b1! - 200) <= 1, JSON.stringify(without));
  backends[0]!.standing = 'up';
  const after = countById(pickIds(balancer, 70));
  assert.ok(Math.abs(after.b0! - 40) <= 1, JSON.stringify(after));
});

test('retries past a refusing backend do not change the shares of first attempts', () => {
  const backends = makeBackends([2, 1, 1]);
  const balancer = new SmoothWeightedRoundRobin(backends, 0);
  const firsts = Array.from({ length: 400 }, () => {
    const first = balancer.pick([]);
    if (first === backends[0]) assert.notEqual(balancer.pick([first]), first);
    return first?.id ?? null;
  });
  const counts = countById(firsts);
  assert.ok(Math.abs(counts.b0! - 200) <= 2, JSON.stringify(counts));
  assert.ok(Math.abs(counts.b1! - counts.b2!) <= 2, JSON.stringify(counts));
});

test('it picks only available and untried backends, and null only if there is none', () => {
  const step = fc.record({
    up: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    drained: fc.integer({ min: 0, max: 9 }),
    tried: fc.subarray([0, 1, 2, 3, 4]),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const backends = makeBackends([1, 2, 3, 4, 5]);
      const balancer = new SmoothWeightedRoundRobin(backends, 0.4);
      for (const { up, drained, tried } of steps) {
        backends.forEach((backend, i) => {
          backend.standing = up[i]! && i !== drained ? 'up' : 'off';
        });
        const skipped = tried.map((i) => backends[i]!);
        const left = backends.filter((backend) => backend.rank > 0 && !skipped.includes(backend));
        const picked = balancer.pick(skipped);
        assert.equal(picked === null, left.length === 0);
        if (picked !== null) assert.ok(left.includes(picked));
      }
    }),
  );
});

test('shares stay proportional among the available backends, whatever went down and up before', () => {
  const masks = fc.array(
    fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }).filter((mask) => mask.includes(true)),
    { minLength: 1, maxLength: 12 },
  );
  fc.assert(
    fc.property(masks, (history) => {
      const weights = [7, 3, 2, 1];
      const backends = makeBackends(weights);
      const balancer = new SmoothWeightedRoundRobin(backends, 0);
      for (const mask of history) {
        backends.forEach((backend, i) => {
          backend.standing = mask[i]! ? 'up' : 'off';
        });
        const total = weights.reduce((sum, weight, i) => sum + (mask[i]! ? weight : 0), 0);
        const counts = countById(pickIds(balancer, total * 20));
        weights.forEach((weight, i) => {
          const expected = mask[i]! ? weight * 20 : 0;
          assert.ok(Math.abs((counts[`b${i}`] ?? 0) - expected) <= 3, JSON.stringify({ counts, mask }));
        });
      }
    }),
  );
});
