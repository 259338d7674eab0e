import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor, within } from '../../support/wait.ts';
import { makeFleet, setMode } from './fixtures/fleet.ts';
import { settingsMessage } from './fixtures/harness.ts';

const DRAIN_MS = 1_000;

test('workers are replaced one by one: each old one drains once its replacement serves, and the next waits for its end', async (t) => {
  const { supervisor, serving, changes, logged } = makeFleet(t, 2);
  await supervisor.start();
  const before = serving().map(({ pid }) => pid);
  const firstChange = changes.length;
  const roll = supervisor.replaceWorkers(DRAIN_MS);
  assert.equal(supervisor.replaceWorkers(DRAIN_MS), null, 'one at a time');
  await within(roll?.ended ?? Promise.reject(), 20_000, 'the roll');
  assert.deepEqual(
    changes.slice(firstChange).map(({ index, state }) => `${index} ${state}`),
    [0, 1].flatMap((index) =>
      ['starting', 'serving', 'draining', 'dead'].map((state) => `${index} ${state}`),
    ),
  );
  const after = supervisor.workers();
  assert.deepEqual(
    after.map(({ index, state, wanted }) => [index, state, wanted]),
    [
      [0, 'serving', true],
      [1, 'serving', true],
    ],
  );
  assert.ok(after.every(({ pid }) => !before.includes(pid)));
  assert.equal(supervisor.restartCount, 0);
  assert.equal(logged('worker that is wanted no more ended').length, 2);
  assert.equal(logged('worker died').length, 0);
  assert.ok(supervisor.replaceWorkers(DRAIN_MS) !== null, 'the next may begin');
});

for (const [mode, reason] of [
  ['crash-at-start', /worker 0 was not replaced: it ended before it served \(exit code 9\)/],
  ['wrong-protocol', /worker 0 was not replaced: its files are of another version \(protocol 999, not \d+\)/],
  ['listen-failed:EADDRINUSE', /worker 0 was not replaced: cannot listen on .* EADDRINUSE/],
] as const) {
  test(`a replacement that does not come up (${mode}) ends the roll, and the old workers serve on`, async (t) => {
    const { supervisor, serving, logged } = makeFleet(t, 2);
    await supervisor.start();
    const before = serving().map(({ pid }) => pid);
    setMode(mode);
    const roll = supervisor.replaceWorkers(DRAIN_MS);
    await assert.rejects(within(roll?.begun ?? Promise.resolve(), 20_000, 'the roll'), {
      code: 'worker_gone',
      message: reason,
    });
    await waitFor('the processes of the roll to be gone', () => supervisor.workers().length === 2);
    assert.deepEqual(
      serving().map(({ pid }) => pid),
      before,
    );
    assert.match(
      JSON.stringify(logged('the rolling replacement of workers has ended, the others stay')),
      reason,
    );
  });
}

test('a replaced worker is told what all are told until it ends, and is killed if it does not', async (t) => {
  const { supervisor, serving, logged } = makeFleet(t, 1, { timings: { drainMarginMs: 100 } });
  setMode('slow-drain');
  await supervisor.start();
  const [old] = supervisor.links();
  assert.ok(old);
  const roll = supervisor.replaceWorkers(1_000);
  await roll?.begun;
  const answered = old.waitFor('applied', 1_000);
  supervisor.broadcast(settingsMessage(2));
  await answered;
  assert.deepEqual(
    supervisor.workers().map(({ wanted }) => wanted),
    [true, false],
  );
  assert.equal(supervisor.counts().draining, 1);
  await within(roll?.ended ?? Promise.reject(), 10_000, 'the roll');
  assert.equal(logged('worker did not drain in time, killing it').length, 1);
  assert.notEqual(serving()[0]?.pid, old.pid);
  assert.equal(supervisor.workers().length, 1);
});

test('a stop ends the roll, and every process with it', async (t) => {
  const { supervisor, changes, lines } = makeFleet(t, 2);
  await supervisor.start();
  const firstChange = changes.length;
  const roll = supervisor.replaceWorkers(DRAIN_MS);
  await waitFor('the replacement to start', () => changes.length > firstChange);
  await supervisor.drain({ graceMs: 0, drainMs: DRAIN_MS });
  const message = 'worker 0 was not replaced: Sluice stops';
  await assert.rejects(roll?.ended ?? Promise.resolve(), { code: 'worker_gone', message });
  const [line] = lines.filter(({ msg }) => /rolling replacement/.test(msg));
  assert.deepEqual(
    [line?.level, line?.msg],
    [30, 'the rolling replacement of workers has ended: Sluice stops'],
  );
  assert.equal(supervisor.counts().serving, 0);
  assert.equal(supervisor.replaceWorkers(DRAIN_MS), null);
});
