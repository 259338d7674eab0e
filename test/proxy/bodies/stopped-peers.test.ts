import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { waitFor } from '../../support/wait.ts';
import { dataPath, startUnixProxy } from '../support.ts';
import { bulkBackend, makeTransfer, poisonBodyBuffers, runPipelined } from './bulk.ts';
import { bufferBytes } from './memory.ts';

/** More than the number of connections that may hold a large buffer or collect batches. */
const STOPPED_COUNT = 200;
/** Answers that the backend has completed, while the client has not read their end. */
const COMPLETE_COUNT = 40;
/** Fewer, because the kernel buffers 4 MB of each. */
const BLOCKED_COUNT = 100;
const EACH_BYTES = 256 * 1024;
/** After a pause, the stream of a socket still reads into its own buffer; the handle wire and node:http stop at once. */
const STREAM_BYTES = dataPath.engine === 'wire' && dataPath.wire === 'socket' ? 64 * 1024 : 0;

test(`${BLOCKED_COUNT} uploads whose backend stops cost at most 256 KiB each, and nothing once they are cut`, async (t) => {
  const watch = poisonBodyBuffers(t);
  const backend = await startRawBackend((socket) => socket.pause());
  t.after(() => backend.close());
  const { proxy } = await startUnixProxy(t, { backends: [backend], limits: { bodyBytes: 2 ** 50 } });
  const piece = Buffer.alloc(65_536, 'u');
  const before = bufferBytes();
  const clients = await Promise.all(Array.from({ length: BLOCKED_COUNT }, () => proxy.connect()));
  for (const { socket } of clients) {
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${2 ** 40}\r\n\r\n`);
    const flood = (): void => {
      while (!socket.destroyed && socket.write(piece));
    };
    socket.on('drain', flood);
    flood();
  }
  await waitFor('all uploads to be blocked', () => watch.blocked.size === BLOCKED_COUNT);
  const eachBytes = (bufferBytes() - before) / BLOCKED_COUNT;
  assert.ok(eachBytes < EACH_BYTES + STREAM_BYTES, `${eachBytes} bytes each`);
  for (const client of clients) client.close();
  await waitFor('every upload to end', () => proxy.handler.traffic.inFlight === 0);
});

test(`${STOPPED_COUNT} answers whose clients stop cost at most 256 KiB each, and go on when they read again`, async (t) => {
  const watch = poisonBodyBuffers(t);
  const problems: string[] = [];
  const transfers = Array.from({ length: COMPLETE_COUNT + STOPPED_COUNT }, (_, id) =>
    makeTransfer(7, id, { bytes: id < COMPLETE_COUNT ? 250_000 : 500_000, shape: 'down/length' }),
  );
  const backend = await startBackend(
    bulkBackend(new Map(transfers.map((each) => [each.id, each])), problems),
  );
  t.after(() => backend.close());
  const { path } = await startUnixProxy(t, { backends: [backend], limits: { bodyBytes: 2 ** 50 } });
  const before = bufferBytes();
  const start = Promise.withResolvers<void>();
  const running = transfers.map((each) => runPipelined([each], { path }, start.promise));
  await waitFor('all answers to be paused', () => watch.pausedCount >= STOPPED_COUNT);
  const eachBytes = (bufferBytes() - before) / transfers.length;
  assert.ok(eachBytes < EACH_BYTES, `${eachBytes} bytes each`);
  start.resolve();
  problems.push(...(await Promise.all(running)));
  assert.deepEqual(
    problems.filter((problem) => problem !== ''),
    [],
  );
  const [store] = watch.stores;
  assert.equal(store?.largeLiveCount, 0);
});
