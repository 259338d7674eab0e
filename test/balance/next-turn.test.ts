/** nextTurn says what the algorithms do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeAlgorithm } from '../../src/balance/algorithm.ts';
import { Backend, nextTurn } from '../../src/balance/backend.ts';

const state = fc.record({
  weight: fc.constantFrom(0, 1, 3),
  backup: fc.boolean(),
  standing: fc.constantFrom('up', 'out', 'off'),
  doubted: fc.boolean(),
  busy: fc.constantFrom(0, 0, 1),
});

test('a pick finds one of the backends whose turn it is, and none where nextTurn says so', () => {
  fc.assert(
    fc.property(
      fc.array(state, { maxLength: 5 }),
      fc.constantFrom('no', 'shared', 'last'),
      (states, panic) => {
        const backends = states.map(({ weight, backup, standing, doubted, busy }, i) => {
          const settings = { id: `b${i}`, host: '127.0.0.1', port: i + 1, tls: false, weight, backup };
          const backend = new Backend(settings, standing);
          backend.limit = 1;
          backend.panic = panic;
          backend.doubted = doubted;
          if (busy === 1) backend.enter();
          return backend;
        });
        const turn = nextTurn(backends);
        for (const kind of ['round_robin', 'least_requests'] as const) {
          const picked = makeAlgorithm(kind, backends, { workerIndex: 0, workerCount: 1 }).pick([]);
          if (turn === null || turn.waits) assert.equal(picked, null);
          else assert.equal(picked?.rank, turn.rank);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
