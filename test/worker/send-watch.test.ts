import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import { DeadlineWheel } from '../../src/infra/deadline-wheel.ts';
import { SendWatch } from '../../src/worker/send-watch.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const WRITE_IDLE_MS = 400;
/** Many times what a Unix socket holds. */
const PIECE_BYTES = 4 * 1024 * 1024;

/** Both ends of a connection through a Unix socket, whose buffers are small and do not grow. */
async function connectPair(t: TestContext): Promise<{ sender: Socket; reader: Socket }> {
  const path = join(makeTempFolder(), 'pair.sock');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  const reader = createConnection(path);
  t.after(() => reader.destroy());
  const [sender]: Socket[] = await once(server, 'connection');
  assert.ok(sender !== undefined);
  t.after(() => sender.destroy());
  for (const socket of [reader, sender]) socket.on('error', () => socket.destroy());
  reader.pause();
  return { sender, reader };
}

function watch(t: TestContext, sender: Socket) {
  const faults: unknown[] = [];
  const clock = systemClock;
  const wheel = new DeadlineWheel({ clock, tickMs: 20, onError: (error) => faults.push(error) });
  wheel.start();
  let stalledCount = 0;
  const owner = { wheel, clock, writeIdleMs: WRITE_IDLE_MS };
  const made = new SendWatch(sender, owner, () => {
    stalledCount += 1;
  });
  t.after(() => {
    made.forget();
    wheel.stop();
    assert.deepEqual(faults, []);
  });
  return { wheel, blocked: () => made.blocked(), stalledCount: () => stalledCount };
}

test('one piece may take many times the deadline as long as some of it is taken, and not once nothing is', async (t) => {
  const { sender, reader } = await connectPair(t);
  const { blocked, stalledCount } = watch(t, sender);
  sender.write(Buffer.alloc(PIECE_BYTES));
  blocked();
  let readBytes = 0;
  const startMs = performance.now();
  const reading = setInterval(() => {
    const chunk: Buffer | null = reader.read(Math.min(80_000, reader.readableLength));
    readBytes += chunk?.length ?? 0;
  }, WRITE_IDLE_MS / 10);
  t.after(() => clearInterval(reading));
  await waitFor('half of the piece', () => readBytes > PIECE_BYTES / 2, { timeoutMs: 30_000 });
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 2 * WRITE_IDLE_MS, `${tookMs} ms are no test`);
  assert.equal(stalledCount(), 0);
  assert.ok(sender.writableLength === PIECE_BYTES, 'the piece is not through yet');
  clearInterval(reading);
  const stoppedMs = performance.now();
  await waitFor('the reader to be given up', () => stalledCount() === 1);
  // The kernel may have taken bytes for the last time just before it was stopped, or some reads earlier.
  assert.ok(performance.now() - stoppedMs > WRITE_IDLE_MS / 2);
});

test('once everything has left there is nothing to watch', async (t) => {
  const { sender, reader } = await connectPair(t);
  const { wheel, blocked, stalledCount } = watch(t, sender);
  sender.write(Buffer.alloc(PIECE_BYTES));
  blocked();
  reader.resume();
  await waitFor('everything to leave', () => sender.writableLength === 0);
  await waitFor('the last look', () => wheel.size === 0);
  assert.equal(stalledCount(), 0);
});
