import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LeastRequests } from '../../src/balance/least-requests.ts';
import { countById, makeBackends, pickIds, seededRandom } from './fixtures.ts';

/** Returns the given numbers, then fails, so that the test controls every draw. */
function scripted(...values: number[]): () => number {
  return () => {
    const value = values.shift();
    assert.notEqual(value, undefined, 'one draw more than expected');
    return value ?? 0;
  };
}

test('B1: the less loaded of 2 random choices is picked, not the least loaded of all', () => {
  const backends = makeBackends([1, 1, 1, 1]);
  [9, 5, 7, 0].forEach((inFlight, i) => {
    backends[i]!.inFlight = inFlight;
  });
  // First draw: index 0 of 4; second: index 1 of the remaining three (b1, b2, b3 → b2).
  assert.equal(new LeastRequests(backends, scripted(0.1, 0.5)).pick([])?.id, 'b2');
  assert.equal(new LeastRequests(backends, scripted(0.3, 0.5)).pick([])?.id, 'b1');
  assert.equal(new LeastRequests(backends, scripted(0.1, 0.99)).pick([])?.id, 'b3');
});

test('load is relative to weight', () => {
  const backends = makeBackends([4, 1]);
  backends[0]!.inFlight = 7;
  backends[1]!.inFlight = 2;
  for (const first of [0, 0.99]) {
    assert.equal(new LeastRequests(backends, scripted(first, 0.5)).pick([])?.id, 'b0');
  }
  backends[0]!.inFlight = 9;
  for (const first of [0, 0.99]) {
    assert.equal(new LeastRequests(backends, scripted(first, 0.5)).pick([])?.id, 'b1');
  }
});

test('an idle pool is shared by weight', () => {
  const counts = countById(pickIds(new LeastRequests(makeBackends([3, 1]), seededRandom(7)), 4000));
  assert.ok(Math.abs(counts.b0! - 3000) < 150, JSON.stringify(counts));
});

test('two backends that are both available are always compared', () => {
  const backends = makeBackends([1, 1]);
  const balancer = new LeastRequests(backends, seededRandom(1));
  backends[1]!.inFlight = 1;
  assert.deepEqual(countById(pickIds(balancer, 200)), { b0: 200 });
});

test('work in flight spreads evenly over equal backends', () => {
  const backends = makeBackends([1, 1, 1, 1, 1, 1, 1, 1]);
  const balancer = new LeastRequests(backends, seededRandom(3));
  for (let i = 0; i < 800; i++) balancer.pick([])!.inFlight++;
  const loads = backends.map((backend) => backend.inFlight);
  assert.ok(Math.max(...loads) - Math.min(...loads) <= 6, loads.join(' '));
});

test('it picks only available and untried backends, and null only if there is none', () => {
  const state = fc.record({
    up: fc.boolean(),
    enabled: fc.boolean(),
    tried: fc.boolean(),
    weight: fc.double({ min: 1, max: 100, noNaN: true }),
    inFlight: fc.nat(50),
  });
  const draw = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(fc.array(state, { maxLength: 9 }), fc.infiniteStream(draw), (states, draws) => {
      const backends = makeBackends(states.map((each) => each.weight));
      backends.forEach((backend, i) => {
        backend.standing = states[i]!.up && states[i]!.enabled ? 'up' : 'off';
        backend.inFlight = states[i]!.inFlight;
      });
      const tried = backends.filter((_, i) => states[i]!.tried);
      const left = backends.filter((backend) => backend.rank > 0 && !tried.includes(backend));
      const picked = new LeastRequests(backends, () => draws.next().value ?? 0).pick(tried);
      assert.equal(picked === null, left.length === 0);
      if (picked !== null) assert.ok(left.includes(picked));
    }),
  );
});
