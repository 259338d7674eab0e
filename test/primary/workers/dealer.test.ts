import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Dealer } from '../../../src/primary/workers/dealer.ts';
import type { WorkerLink } from '../../../src/primary/workers/worker-link.ts';
import { waitFor, within } from '../../support/wait.ts';
import { makeFleet, setMode } from './fixtures/fleet.ts';

async function openDealer(t: TestContext, limits?: { maxWaiting?: number; waitMs?: number }) {
  const dealer = new Dealer(limits);
  t.after(() => dealer.close());
  const url = await dealer.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, 'a');
  dealer.open(['a']);
  return { dealer, port: Number(new URL(url).port) };
}

/** Real workers that answer their index on each connection. */
async function startWorkers(t: TestContext, dealer: Dealer, mode = 'normal') {
  const fleet = makeFleet(t, 2, {
    onMessage: (link, { type }) => {
      if (type === 'connection-taken') dealer.taken(link);
    },
  });
  setMode(mode, '1');
  await fleet.supervisor.start();
  return fleet;
}

/** Resolves with the bytes before the end; '': closed without any. */
async function answerAt(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.on('data', (chunk) => {
    text += String(chunk);
  });
  socket.on('error', () => undefined);
  await within(closed, 10_000, 'the end of a connection');
  return text;
}

test('connections wait for the first worker, and are dealt to all workers in turn', async (t) => {
  const { dealer, port } = await openDealer(t);
  const early = [answerAt(port), answerAt(port)];
  const { supervisor } = await startWorkers(t, dealer);
  for (const link of supervisor.links()) dealer.add(link);
  assert.deepEqual((await Promise.all(early)).sort(), ['0', '1']);
  const [first, second] = [await answerAt(port), await answerAt(port)];
  assert.deepEqual([first, second].sort(), ['0', '1']);
});

test('a worker that does not accept its connection gets no further one', async (t) => {
  const { dealer, port } = await openDealer(t);
  const { supervisor } = await startWorkers(t, dealer, 'keeps-connections');
  for (const link of supervisor.links()) dealer.add(link);
  const answers = await Promise.all(Array.from({ length: 6 }, () => answerAt(port)));
  assert.deepEqual(answers.sort(), ['0', '0', '0', '0', '0', '1']);
});

test('a removed or dead worker gets no connection', async (t) => {
  const { dealer, port } = await openDealer(t);
  const { supervisor } = await startWorkers(t, dealer);
  const [left, right] = supervisor.links() as [WorkerLink, WorkerLink];
  dealer.add(left);
  dealer.add(right);
  dealer.remove(left);
  dealer.taken(left);
  assert.deepEqual([await answerAt(port), await answerAt(port)], ['1', '1']);
  right.kill();
  await right.exited;
  const waiting = answerAt(port);
  dealer.add(left);
  assert.equal(await waiting, '0');
});

test('a connection that a worker was sent and has not taken when it ends goes to another worker', async (t) => {
  const { dealer, port } = await openDealer(t);
  const { supervisor } = await startWorkers(t, dealer);
  const [left, right] = supervisor.links() as [WorkerLink, WorkerLink];
  const { mock } = t.mock.method(left, 'send');
  process.kill(left.pid, 'SIGSTOP');
  dealer.add(left);
  const answer = answerAt(port);
  await waitFor('the connection to be sent', () => mock.callCount() === 1);
  left.kill();
  await left.exited;
  dealer.add(right);
  assert.equal(await answer, '1');
});

test('connections that wait past the deadline, or exceed the maximum that may wait, are closed', async (t) => {
  const { port } = await openDealer(t, { maxWaiting: 2, waitMs: 1_000 });
  const held: Socket[] = [];
  t.after(() => {
    for (const socket of held) socket.destroy();
  });
  let closedCount = 0;
  for (let i = 0; i < 2; i++) {
    const socket = connect(port, '127.0.0.1');
    held.push(socket);
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.on('close', () => closedCount++).resume();
  }
  assert.equal(await answerAt(port), '');
  assert.equal(closedCount, 0, 'those that came before wait on');
  await waitFor('the deadline', () => closedCount === 2);
});
