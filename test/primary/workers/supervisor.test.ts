import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor, within } from '../../support/wait.ts';
import { type Fleet, makeFleet, setMode } from './fixtures/fleet.ts';
import { settingsMessage } from './fixtures/harness.ts';

/** Index and number of workers that each worker was given. */
function toldTo(messages: Fleet['messages']): string[] {
  return messages.flatMap(({ message }) => (message.type === 'connect-failure' ? [message.detail] : []));
}

test('every worker knows its index and the number of workers, is prepared and serves before start resolves', async (t) => {
  const { supervisor, messages, serving } = makeFleet(t, 3);
  await within(supervisor.start(), 10_000, 'three workers serve');
  assert.deepEqual(toldTo(messages).sort(), ['worker 0 of 3', 'worker 1 of 3', 'worker 2 of 3']);
  assert.equal(serving().length, 3);
  assert.deepEqual(supervisor.counts(), { starting: 0, serving: 3, draining: 0, dead: 0 });
  assert.equal(messages.filter(({ message }) => message.type === 'hello').length, 3);
  for (const { pid, revision, startedAtMs } of serving()) {
    assert.ok(pid !== null && startedAtMs !== null && startedAtMs <= performance.now());
    assert.equal(revision, 1);
  }
  await waitFor('each worker has reported', () =>
    supervisor.workers().every(({ report }) => (report?.requestsTotal ?? 0) > 0),
  );
});

test('a broadcast reaches every worker, and each one’s answer can be waited for', async (t) => {
  const { supervisor, serving } = makeFleet(t, 2);
  await supervisor.start();
  const answers = supervisor.links().map((link) => link.waitFor('applied', 5000, (m) => m.revision >= 2));
  supervisor.broadcast(settingsMessage(2));
  assert.equal((await Promise.all(answers)).length, 2);
  assert.deepEqual(
    serving().map(({ revision }) => revision),
    [2, 2],
  );
});

test('B39: a killed worker is replaced at once, in its own slot, prepared anew, while the others serve on', async (t) => {
  const { supervisor, logged, serving, messages } = makeFleet(t, 2);
  await supervisor.start();
  const [first, second] = serving();
  assert.ok(first?.pid && second?.pid);
  process.kill(second.pid, 'SIGKILL');
  await waitFor('slot 1 serves with another process', () =>
    serving().find(({ index, pid }) => index === 1 && pid !== second.pid),
  );
  assert.equal(serving()[0]?.pid, first.pid);
  assert.equal(toldTo(messages).at(-1), 'worker 1 of 2');
  const [death] = logged('worker died');
  assert.equal(death?.worker, 1);
  assert.equal(death?.workerPid, second.pid);
  assert.equal(death?.signal, 'SIGKILL');
  assert.equal(death?.code, null);
  assert.equal(death?.restartInMs, 0);
  assert.equal(supervisor.restartCount, 1);
});

test('B39: a worker that does not come up again is restarted with back-off, for ever once a worker has served', async (t) => {
  const { supervisor, logged, serving } = makeFleet(t, 1);
  await supervisor.start();
  setMode('crash-at-start');
  process.kill(serving()[0]?.pid ?? 0, 'SIGKILL');
  await waitFor('five deaths', () => logged('worker died').length >= 5);
  setMode('normal');
  assert.deepEqual(
    logged('worker died')
      .slice(0, 5)
      .map(({ code, restartInMs }) => [code, restartInMs]),
    [
      [null, 0],
      [9, 0],
      [9, 0],
      [9, 500],
      [9, 1000],
    ],
  );
  await waitFor('it serves again once it can', () => serving().length === 1);
});

test('if no worker ever served, start rejects after three deaths of each and no process is left', async (t) => {
  const { supervisor, logged, changes } = makeFleet(t, 2);
  setMode('crash-at-start');
  await assert.rejects(within(supervisor.start(), 20_000, 'start gives up'), {
    code: 'worker_gone',
    message: 'no worker could start: each died 3 times before serving',
  });
  assert.ok(logged('worker died').length >= 6);
  assert.equal(supervisor.counts().dead, 2);
  const settled = changes.length;
  await assert.rejects(supervisor.start(), { code: 'worker_gone' });
  assert.equal(changes.length, settled, 'no fork after giving up');
});

test('a worker that sends no hello in time is killed and replaced', async (t) => {
  const { supervisor, logged, changes } = makeFleet(t, 1, { timings: { helloMs: 1_500 } });
  setMode('mute');
  const started = supervisor.start();
  await waitFor('the mute process is forked', () => changes.some(({ state }) => state === 'starting'));
  setMode('normal');
  await within(started, 30_000, 'the replacement serves');
  assert.equal(logged('worker died')[0]?.signal, 'SIGKILL');
  const [refused] = logged('worker did not start, killing it');
  assert.match(JSON.stringify(refused?.err), /no 'hello' within 1500 ms/);
});

test('a hello with another protocol version is refused', async (t) => {
  const { supervisor, logged, messages } = makeFleet(t, 1);
  setMode('wrong-protocol');
  await assert.rejects(within(supervisor.start(), 20_000, 'start gives up'), { code: 'worker_gone' });
  assert.match(JSON.stringify(logged('worker did not start, killing it')[0]?.err), /protocol 999/);
  assert.ok(!messages.some(({ message }) => message.type === 'ready'));
});

test('a worker that does not become ready in time is killed, and so is one whose preparation fails', async (t) => {
  const never = makeFleet(t, 1, { timings: { readyMs: 100 } });
  setMode('never-ready');
  await assert.rejects(within(never.supervisor.start(), 20_000, 'start gives up'), { code: 'worker_gone' });

  const late = new Error('no settings today');
  const thrower = () => {
    throw late;
  };
  for (const prepare of [() => Promise.reject(late), thrower]) {
    const unprepared = makeFleet(t, 1, { prepare });
    await assert.rejects(within(unprepared.supervisor.start(), 20_000, 'start gives up'), {
      code: 'worker_gone',
    });
    const [refused] = unprepared.logged('worker did not start, killing it');
    assert.match(JSON.stringify(refused?.err), /no settings today/);
  }
});

test('start resolves with the serving workers if one of them cannot serve', async (t) => {
  const { supervisor, serving } = makeFleet(t, 2, { timings: { startMs: 1500 } });
  setMode('crash-at-start', '0');
  await within(supervisor.start(), 10_000, 'start resolves without worker 0');
  assert.deepEqual(
    serving().map(({ index }) => index),
    [1],
  );
  await waitFor('the pause before its next start', () => (supervisor.workers()[0]?.startsInMs ?? 0) > 0);
});

test('a serving worker that becomes silent is logged, killed and replaced', async (t) => {
  const { supervisor, logged, serving } = makeFleet(t, 2, {
    timings: { silenceWarnMs: 500, silenceKillMs: 2500 },
  });
  await supervisor.start();
  const hung = supervisor.links()[1];
  assert.ok(hung);
  hung.send({ type: 'bucket-replies', id: 1, replies: [] });
  await waitFor(
    'the hung worker is replaced',
    () => serving()[1]?.pid !== hung.pid && serving().length === 2,
    {
      timeoutMs: 10_000,
    },
  );
  assert.equal(logged('worker is silent')[0]?.worker, 1);
  assert.equal(logged('worker is silent').length, 1);
  assert.equal(logged('worker is silent, killing it').length, 1);
  assert.equal(logged('worker died')[0]?.signal, 'SIGKILL');
});

test('a worker that drains by itself does not count as serving, gets broadcasts until it exits, and is replaced', async (t) => {
  const { supervisor, serving, logged } = makeFleet(t, 2);
  await supervisor.start();
  const leaving = supervisor.links()[0];
  assert.ok(leaving);
  leaving.send({ type: 'bucket-replies', id: 4, replies: [] });
  await waitFor('it is seen draining', () => supervisor.counts().draining === 1);
  const answer = leaving.waitFor('applied', 5000);
  supervisor.broadcast(settingsMessage(2));
  await answer;
  leaving.send({ type: 'bucket-replies', id: 5, replies: [] });
  await waitFor('another process serves in its place', () => serving().length === 2);
  assert.notEqual(serving()[0]?.pid, leaving.pid);
  assert.equal(logged('worker died').length, 0, 'an end that was asked for is no failure');
  const [ended] = logged('worker ended, starting another');
  assert.deepEqual([ended?.level, ended?.state], [30, 'draining']);
});
