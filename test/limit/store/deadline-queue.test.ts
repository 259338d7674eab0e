import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import { DeadlineQueue } from '../../../src/limit/store/deadline-queue.ts';
import { systemTimers } from '../../../src/limit/timers.ts';
import { waitFor } from '../../support/wait.ts';

interface Call {
  id: number;
  settled: boolean;
}

const TIMEOUT_MS = 20;

function makeQueue() {
  const due: { id: number; atMs: number }[] = [];
  const options = { timeoutMs: TIMEOUT_MS, clock: systemClock, timers: systemTimers, defer: setImmediate };
  const queue = new DeadlineQueue<Call>(options, (call) => {
    call.settled = true;
    due.push({ id: call.id, atMs: performance.now() });
  });
  return { due, queue };
}

function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

test('a deadline queue gives up each call once, in order, no earlier than its time-out', async () => {
  const { due, queue } = makeQueue();
  const startMs = performance.now();
  for (const id of [1, 2, 3]) queue.add({ id, settled: false });
  await waitFor('all calls to be given up', () => due.length === 3);
  assert.deepEqual(
    due.map((call) => call.id),
    [1, 2, 3],
  );
  for (const { atMs } of due) assert.ok(atMs - startMs >= TIMEOUT_MS, `after ${atMs - startMs} ms`);
  assert.equal(queue.size, 0);
});

test('a deadline queue leaves settled calls alone and forgets them', async () => {
  const { due, queue } = makeQueue();
  const calls = Array.from({ length: 100 }, (_, id): Call => ({ id, settled: false }));
  for (const call of calls) queue.add(call);
  for (const call of calls.slice(0, 99)) call.settled = true;
  await waitFor('the last call to be given up', () => due.length > 0);
  assert.deepEqual(
    due.map((call) => call.id),
    [99],
  );
  await waitFor('the queue to be empty', () => queue.size === 0);
});

test('a deadline queue does not count the time by which our own event loop was late', async () => {
  const { due, queue } = makeQueue();
  const startMs = performance.now();
  queue.add({ id: 1, settled: false });
  // Three stalls of thrice the time-out in all.
  block(TIMEOUT_MS);
  setImmediate(() => block(TIMEOUT_MS));
  setImmediate(() => setImmediate(() => block(TIMEOUT_MS)));
  await waitFor('the call to be given up', () => due.length === 1);
  const waitedMs = (due[0]?.atMs ?? 0) - startMs;
  assert.ok(waitedMs >= 3 * TIMEOUT_MS, `given up after ${waitedMs} ms, ${3 * TIMEOUT_MS} of them blocked`);
});

test('a deadline queue polls the sockets once more before it gives up', async () => {
  const { due, queue } = makeQueue();
  const call = { id: 1, settled: false };
  queue.add(call);
  const { port1, port2 } = new MessageChannel();
  port2.onmessage = () => {
    call.settled = true;
  };
  // The answer lies there when the loop comes back from a stall just past the deadline.
  setTimeout(() => {
    port1.postMessage('reply');
    block(TIMEOUT_MS * 2);
  }, TIMEOUT_MS * 0.75);
  await waitFor('the queue to forget the answered call', () => queue.size === 0);
  port2.close();
  assert.deepEqual(due, []);
});

test('a deadline queue gives up everything at once when it is closed', () => {
  const { due, queue } = makeQueue();
  queue.add({ id: 1, settled: false });
  queue.add({ id: 2, settled: true });
  queue.close();
  assert.deepEqual(
    due.map((call) => call.id),
    [1],
  );
});
