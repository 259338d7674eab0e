/** nextRank says what the algorithms do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeAlgorithm } from '../../src/balance/algorithm.ts';
import { Backend, nextRank } from '../../src/balance/backend.ts';

const state = fc.record({
  weight: fc.constantFrom(0, 1, 3),
  backup: fc.boolean(),
  standing: fc.constantFrom('up', 'out', 'off'),
  doubted: fc.boolean(),
  busy: fc.constantFrom(0, 0, 1),
});

test('a pick finds one of the backends whose turn it is, and none where nextRank says so, whatever was tried', () => {
  fc.assert(
    fc.property(
      fc.array(state, { maxLength: 5 }),
      fc.constantFrom('no', 'shared', 'last'),
      fc.nat({ max: 31 }),
      (states, panic, triedBits) => {
        const backends = states.map(({ weight, backup, standing, doubted, busy }, i) => {
          const settings = { id: `b${i}`, host: '127.0.0.1', port: i + 1, tls: false, weight, backup };
          const backend = new Backend(settings, standing);
          backend.limit = 1;
          backend.panic = panic;
          backend.doubted = doubted;
          if (busy === 1) backend.enter();
          return backend;
        });
        const tried = backends.filter((_, i) => (triedBits >> i) % 2 === 1);
        const next = nextRank(backends, tried);
        for (const kind of ['round_robin', 'least_requests'] as const) {
          const picked = makeAlgorithm(kind, backends, { workerIndex: 0, workerCount: 1 }).pick(tried);
          if (next <= 0) assert.equal(picked, null);
          else assert.equal(picked?.rank, next);
          assert.ok(picked === null || !tried.includes(picked));
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
