import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor, within } from '../../support/wait.ts';
import { makeFleet, setMode } from './fixtures/fleet.ts';

test('B38: a drain sends every worker the grace and drain times, and ends when all have exited by themselves', async (t) => {
  const { supervisor, changes, messages, logged } = makeFleet(t, 2);
  await supervisor.start();
  const before = changes.length;
  const result = await within(supervisor.drain({ graceMs: 5, drainMs: 30 }), 10_000, 'the drain ends');
  assert.deepEqual(result, { killedCount: 0 });
  const told = messages.flatMap(({ message }) => (message.type === 'clients-applied' ? [message.part] : []));
  assert.deepEqual(told, [5_000_030, 5_000_030]);
  for (const index of [0, 1]) {
    const states = changes.slice(before).filter((view) => view.index === index);
    assert.deepEqual(
      states.map(({ state }) => state),
      ['draining', 'dead'],
    );
  }
  assert.equal(logged('worker ended').length, 2);
  assert.equal(logged('worker died').length, 0);
  assert.deepEqual(supervisor.links(), []);
});

test('during a drain a dead worker is not replaced, also not after its back-off', async (t) => {
  const { supervisor, pids, logged, serving } = makeFleet(t, 2);
  setMode('crash-in-drain', '1');
  await supervisor.start();
  setMode('crash-at-start', '0');
  process.kill(serving()[0]?.pid ?? 0, 'SIGKILL');
  await waitFor('worker 0 waits for its back-off', () =>
    logged('worker died').some(({ restartInMs }) => restartInMs === 1000),
  );
  const known = pids.size;
  const result = await within(supervisor.drain({ graceMs: 0, drainMs: 5000 }), 10_000, 'the drain ends');
  assert.equal(result.killedCount, 0);
  assert.equal(pids.size, known);
  assert.deepEqual(supervisor.counts(), { starting: 0, serving: 0, draining: 0, dead: 2 });
  assert.equal(logged('worker ended')[0]?.code, 11);
});

test('a worker that does not drain in time gets SIGKILL', async (t) => {
  const { supervisor, logged } = makeFleet(t, 2, { timings: { drainMarginMs: 100 } });
  setMode('deaf', '1');
  await supervisor.start();
  const result = await within(supervisor.drain({ graceMs: 50, drainMs: 150 }), 10_000, 'the drain ends');
  assert.deepEqual(result, { killedCount: 1 });
  const [warning] = logged('worker did not drain in time, killing it');
  assert.equal(warning?.worker, 1);
  assert.equal(warning?.deadlineMs, 300);
});

test('the drain does not wait for a worker that said drained and lingers', async (t) => {
  const { supervisor, logged } = makeFleet(t, 1, { timings: { exitMs: 50 } });
  setMode('lingering');
  await supervisor.start();
  await within(supervisor.drain({ graceMs: 0, drainMs: 60_000 }), 10_000, 'the drain ends');
  assert.equal(logged('worker ended')[0]?.signal, 'SIGKILL');
});

test('stopNow cuts a drain short: workers that obey exit by themselves, the others get SIGKILL', async (t) => {
  const { supervisor, logged } = makeFleet(t, 2);
  setMode('slow-drain');
  await supervisor.start();
  const drained = supervisor.drain({ graceMs: 0, drainMs: 60_000 });
  await waitFor('both drain', () => supervisor.counts().draining === 2);
  await within(supervisor.stopNow(), 5000, 'all are gone');
  await within(drained, 5000, 'the drain ends with them');
  assert.deepEqual(
    logged('worker ended').map(({ code }) => code),
    [0, 0],
  );

  const deaf = makeFleet(t, 1);
  setMode('deaf');
  await deaf.supervisor.start();
  await within(deaf.supervisor.stopNow(), 5000, 'the deaf one is gone');
  assert.equal(deaf.logged('worker ended')[0]?.signal, 'SIGKILL');
});

test('a drain during the start ends the forked workers, and start rejects', async (t) => {
  const { supervisor, changes } = makeFleet(t, 2);
  setMode('mute');
  const started = supervisor.start();
  const rejected = assert.rejects(started, { code: 'worker_gone', message: /stopped before/ });
  await waitFor('both are forked', () => changes.length === 2);
  const result = await within(supervisor.drain({ graceMs: 60_000, drainMs: 60_000 }), 5000, 'the drain ends');
  await rejected;
  assert.equal(result.killedCount, 0);
  assert.equal(supervisor.counts().dead, 2);
});
