import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '../../fuzz/random.ts';
import { startBackend } from '../../support/backend.ts';
import { freePort } from '../../support/free-port.ts';
import { waitFor } from '../../support/wait.ts';
import { startProxy } from '../support.ts';
import { bulkBackend, makeTransfer, poisonBodyBuffers, runPipelined, runTransfer, SHAPES } from './bulk.ts';

const MIB = 1024 * 1024;
/** More than the kernel buffers on two connections, so that a slow reader really blocks the proxy. */
const LONG_BYTES = 12 * MIB;
/** Every shape several times. A third is cut in the middle; some are long and read slowly. */
const ALONE_COUNT = 84;
/** Requested repeatedly in the meantime, so that the proxy keeps reusing its buffers. */
const SMALL_COUNT = 8;
/** Per connection; there are two connections. */
const PIPELINED_COUNT = 5;

function makeTransfers(seed: number) {
  const random = new Random(seed);
  const alone = Array.from({ length: ALONE_COUNT }, (_, id) => {
    const slow = id % 9 === 0;
    const cut = Math.floor(id / SHAPES.length) % 3 === 1;
    return makeTransfer(seed, id, {
      bytes: slow ? LONG_BYTES : 8 + random.below(MIB),
      slow,
      cutBy: cut ? random.pick(['client', 'backend']) : null,
    });
  });
  const small = Array.from({ length: SMALL_COUNT }, (_, i) => {
    const shape = random.pick(['down/length', 'down/chunked'] as const);
    return makeTransfer(seed, ALONE_COUNT + i, { bytes: 8 + random.below(MIB / 20), shape });
  });
  const pipelined = Array.from({ length: 2 * PIPELINED_COUNT }, (_, i) =>
    makeTransfer(seed, ALONE_COUNT + SMALL_COUNT + i, { bytes: 3 * MIB, shape: 'down/length', slow: true }),
  );
  return { alone, small, pipelined };
}

test('bytes of one body never appear in another, in both directions, with pauses, retries, and a third of them cut', async (t) => {
  const seed = Date.now();
  const watch = poisonBodyBuffers(t);
  const { alone, small, pipelined } = makeTransfers(seed);
  const problems: string[] = [];
  const byId = new Map([...alone, ...small, ...pipelined].map((each) => [each.id, each]));
  const backend = await startBackend(bulkBackend(byId, problems));
  t.after(() => backend.close());
  const proxy = await startProxy(t, {
    // Nothing listens on the second port: every other request is retried with its body.
    backends: [{ port: backend.port }, { port: await freePort() }],
    limits: { bodyBytes: 64 * MIB },
  });
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const peer = { port: proxy.port, agent };
  const target = { port: proxy.port, host: '127.0.0.1' };
  const note = (problem: string): void => {
    if (problem !== '') problems.push(problem);
  };
  let over = false;
  const others = small.map(async (transfer) => {
    while (!over && problems.length === 0) {
      note(await runTransfer(transfer, peer));
      await pause(2);
    }
  });
  await Promise.all([
    ...alone.map(async (transfer) => note(await runTransfer(transfer, peer))),
    ...[0, PIPELINED_COUNT].map(async (from) =>
      note(await runPipelined(pipelined.slice(from, from + PIPELINED_COUNT), target)),
    ),
  ]);
  over = true;
  await Promise.all(others);
  assert.deepEqual(problems.slice(0, 10), [], `seed ${seed}`);
  assert.ok(watch.pausedCount > 0, 'slow clients must have paused answers');
  assert.ok(watch.blockedCount > 0, 'slow backends must have blocked requests');
  assert.ok(proxy.metric('sluice_retries_total') >= ALONE_COUNT / 4);
  const [store] = watch.stores;
  assert.ok(store !== undefined && watch.stores.size === 1);
  await waitFor('all buffers to be given back', () => store.largeLiveCount === 0);
});
