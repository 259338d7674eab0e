import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import type { PrimaryMessage, WorkerMessage } from '../../../src/contract/messages.ts';
import { WORKER_PLACE } from '../../../src/contract/messages.ts';
import { WorkerLink } from '../../../src/primary/workers/worker-link.ts';
import { waitFor, within } from '../../support/wait.ts';
import { keepLog, processAlive, settingsMessage, WORKER_FILE } from './fixtures/harness.ts';

function forkWorker(t: TestContext, mode = 'normal', settings: { cwd?: string } = {}) {
  const { logger, lines } = keepLog();
  const place = JSON.stringify({ workerIndex: 3, workerCount: 4, listenFds: {} });
  const env = { ...process.env, FIXTURE_MODE: mode, [WORKER_PLACE]: place };
  const worker = fork(WORKER_FILE, [], { execArgv: [], env, ...settings });
  const link = new WorkerLink(worker, 3, logger);
  t.after(async () => {
    link.kill();
    await within(link.exited, 5000, 'the worker of the test ends');
  });
  return { link, lines };
}

/** Sends settings and waits for the worker's answer. */
function ask<T extends WorkerMessage['type']>(
  link: WorkerLink,
  message: PrimaryMessage,
  ...wait: Parameters<typeof link.waitFor<T>>
) {
  const answer = link.waitFor<T>(...wait);
  link.send(message);
  return answer;
}

test('messages arrive parsed and in order, and a wait selects an answer by type and content', async (t) => {
  const { link } = forkWorker(t);
  const seen: WorkerMessage['type'][] = [];
  const stop = link.onMessage((message) => {
    if (message.type !== 'report') seen.push(message.type);
  });
  const hello = await link.waitFor('hello', 5000);
  assert.equal(hello.pid, link.pid);
  const told = link.waitFor('connect-failure', 5000);
  const ready = await ask(link, settingsMessage(7), 'ready', 5000);
  assert.equal((await told).detail, 'worker 3 of 4');
  assert.equal(ready.revision, 7);

  const ninth = link.waitFor('applied', 5000, ({ revision }) => revision >= 9);
  link.send(settingsMessage(8));
  link.send(settingsMessage(9));
  assert.equal((await ninth).revision, 9);
  assert.deepEqual(seen, ['hello', 'connect-failure', 'ready', 'applied', 'applied']);
  stop();
  await ask(link, settingsMessage(10), 'applied', 5000);
  assert.equal(seen.length, 5);
});

test('a wait ends at its deadline with worker_timeout', async (t) => {
  const { link } = forkWorker(t);
  await link.waitFor('hello', 5000);
  await assert.rejects(link.waitFor('drained', 20), {
    code: 'worker_timeout',
    message: "worker 3 sent no 'drained' within 20 ms",
  });
  await assert.rejects(
    ask(link, settingsMessage(1), 'ready', 300, () => false),
    { code: 'worker_timeout' },
  );
});

test('a question gets the answer that has its number, and none that comes too late for another', async (t) => {
  const { link } = forkWorker(t);
  await link.waitFor('hello', 5000);
  const askFor = (timeoutMs: number, answered: (id: number) => number[]) =>
    link.ask('seen-clients', timeoutMs, (id) => ({
      type: 'list-seen',
      id,
      clientIds: answered(id).map(String),
    }));
  await assert.rejects(
    askFor(20, () => []),
    { code: 'worker_timeout' },
  );
  assert.deepEqual((await askFor(5000, (id) => [id - 1, id])).seenSecs, [2]);
});

test('every wait races with the exit of the worker: worker_gone at once, also for waits begun later', async (t) => {
  const { link } = forkWorker(t);
  await link.waitFor('hello', 5000);
  const waits = [link.waitFor('ready', 60_000), link.waitFor('drained', 60_000)];
  const outcomes = Promise.allSettled(waits);
  process.kill(link.pid, 'SIGKILL');
  for (const outcome of await within(outcomes, 5000, 'the waits end with the worker')) {
    assert.equal(outcome.status, 'rejected');
    if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'worker_gone');
  }
  assert.deepEqual(await link.exited, { code: null, signal: 'SIGKILL' });
  assert.equal(link.alive, false);
  await assert.rejects(link.waitFor('ready', 60_000), { code: 'worker_gone' });
  link.send({ type: 'stop' });
  link.kill();
});

test('the last messages of a worker are delivered before its exit is reported', async (t) => {
  const { link } = forkWorker(t);
  await link.waitFor('hello', 5000);
  let reportCount = 0;
  link.onMessage((message) => {
    if (message.type === 'report') reportCount++;
  });
  link.send({ type: 'bucket-replies', id: 3, replies: [] });
  assert.deepEqual(await within(link.exited, 5000, 'the worker exits'), { code: 5, signal: null });
  assert.equal(reportCount, 1);
});

test('an unknown message is logged, shortened, and later ones are delivered', async (t) => {
  const { link, lines } = forkWorker(t);
  await link.waitFor('hello', 5000);
  link.send({ type: 'bucket-replies', id: 2, replies: [] });
  const line = await waitFor('the unknown message is logged', () =>
    lines.find(({ msg }) => msg === 'unknown message from a worker'),
  );
  assert.equal(line.worker, 3);
  assert.match(String(line.raw), /^\{"type":"gossip"/);
  assert.ok(String(line.raw).length <= 200);
  await ask(link, settingsMessage(1), 'ready', 5000);
});

test('a process that cannot be started counts as exited', async (t) => {
  const { link, lines } = forkWorker(t, 'normal', { cwd: '/nonexistent' });
  const wait = assert.rejects(link.waitFor('hello', 60_000), { code: 'worker_gone' });
  assert.deepEqual(await within(link.exited, 5000, 'the failure ends the link'), {
    code: null,
    signal: null,
  });
  await wait;
  assert.ok(lines.some(({ msg }) => msg === 'worker process error'));
});

for (const [what, size, count] of [
  ['many small', 4, 30_000],
  ['some large', 20_000, 30],
] as const) {
  test(`a worker that does not read is killed before ${what} messages fill the memory`, async (t) => {
    const { link, lines } = forkWorker(t);
    await link.waitFor('hello', 5000);
    process.kill(link.pid, 'SIGSTOP');
    const bulk = { type: 'backends' as const, states: Array.from({ length: size }, () => state), panics: [] };
    const sent = Array.from({ length: count }, () => link.send(bulk)).filter(Boolean);
    assert.ok(sent.length >= count / 3, `only ${sent.length} were accepted`);
    await within(link.exited, 20_000, 'the stopped worker is killed');
    assert.ok(lines.some(({ msg }) => msg === 'worker does not read its messages, killing it'));
    assert.equal(processAlive(link.pid), false);
  });
}
const state = { pool: 'app', backend: 'b0', standing: 'up' as const, rampedMs: null };

test('an exception in a message handler is logged, and the other handlers get the message', async (t) => {
  const { link, lines } = forkWorker(t);
  link.onMessage(() => {
    throw new Error('no such bucket');
  });
  await link.waitFor('hello', 5000);
  const line = await waitFor('the exception is logged', () =>
    lines.find(({ msg }) => msg === 'a message of a worker failed'),
  );
  assert.equal(line.type, 'hello');
  await ask(link, settingsMessage(1), 'ready', 5000);
});
