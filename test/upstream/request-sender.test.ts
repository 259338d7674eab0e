import assert from 'node:assert/strict';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { BodyBuffers } from '../../src/http1/body-buffers.ts';
import { CHUNKED_BODY } from '../../src/http1/framing.ts';
import { BackendSocket } from '../../src/upstream/backend-socket.ts';
import type { UpstreamRequest } from '../../src/upstream/exchange.ts';
import { RequestSender } from '../../src/upstream/request-sender.ts';
import { waitFor } from '../support/wait.ts';

const CHUNK_BYTES = 65_536;
const TURNS = 500;

/** Counts the empty writes by which the sender waits for all before them. */
class CountingSocket extends BackendSocket {
  emptyCount = 0;
  fullCount = 0;

  override _write(chunk: unknown, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#count(chunk);
    super._write(chunk, encoding, callback);
  }

  override _writev(
    chunks: { chunk: unknown; encoding: BufferEncoding }[],
    callback: (error?: Error | null) => void,
  ): void {
    for (const { chunk } of chunks) this.#count(chunk);
    super._writev(chunks, callback);
  }

  #count(chunk: unknown): void {
    if ((chunk as { length: number }).length === 0) this.emptyCount++;
    else this.fullCount++;
  }
}

async function openSender(t: TestContext) {
  let peer: Socket | undefined;
  let received = 0;
  const server = createServer((socket) => {
    peer = socket.pause();
    socket.on('data', (data) => {
      received += data.length;
    });
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const socket = new CountingSocket({}, () => undefined);
  // A reset is one of the ends that are tried.
  socket.on('error', () => undefined);
  socket.connect({ port, host: '127.0.0.1' });
  t.after(() => {
    socket.destroy();
    peer?.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  await waitFor('the connection', () => !socket.connecting && peer !== undefined);
  const counts = { sent: 0, blocked: 0, unblocked: 0, writable: 0 };
  const sender = new RequestSender(socket, new BodyBuffers(), {
    onRequestSent: () => counts.sent++,
    onBlocked: () => counts.blocked++,
    onUnblocked: () => counts.unblocked++,
    onWritable: () => counts.writable++,
  });
  return { sender, socket, counts, peer: peer ?? assert.fail(), received: () => received };
}

const REQUEST: UpstreamRequest = {
  method: 'POST',
  target: '/',
  headerLines: 'Host: backend\r\n',
  bodyLength: CHUNKED_BODY,
};

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

test('a sender that is blocked waits without a turn of its own, however much is written on top', async (t) => {
  const { sender, socket, counts, peer, received } = await openSender(t);
  sender.begin(REQUEST);
  let writes = 0;
  while (sender.write(Buffer.alloc(CHUNK_BYTES, 'a'))) writes++;
  await turns(1);
  // A writer that does not stop: each of these stands between an empty write and the end of what waits.
  for (let i = 0; i < 50; i++) {
    sender.write(Buffer.alloc(CHUNK_BYTES, 'a'));
    await turns(1);
    writes++;
  }
  assert.equal(counts.blocked, 1);
  assert.ok(socket.writableLength > 0);
  const before = socket.emptyCount;
  await turns(TURNS);
  assert.equal(socket.emptyCount, before, 'nothing moves, so nothing runs');
  sender.end([]);
  peer.resume();
  await waitFor('all to be sent', () => sender.finished);
  assert.ok(
    socket.emptyCount <= socket.fullCount,
    `${socket.emptyCount} empty writes beside ${socket.fullCount}`,
  );
  assert.deepEqual(counts, { sent: 1, blocked: 1, unblocked: 1, writable: 1 });
  await waitFor('all to be received', () => received() > writes * CHUNK_BYTES);
});

test('a blocked sender whose backend goes away, or whose socket is destroyed, comes to rest', async (t) => {
  for (const end of ['reset', 'destroy'] as const) {
    const { sender, socket, counts, peer } = await openSender(t);
    sender.begin(REQUEST);
    while (sender.write(Buffer.alloc(CHUNK_BYTES, 'a'))) await turns(1);
    for (let i = 0; i < 5; i++) sender.write(Buffer.alloc(CHUNK_BYTES, 'a'));
    if (end === 'reset') peer.resetAndDestroy();
    else socket.destroy();
    await waitFor('the end', () => socket.destroyed || socket.writeError !== null);
    const before = socket.emptyCount;
    await turns(TURNS);
    assert.ok(socket.emptyCount <= before + 2, `${socket.emptyCount - before} empty writes after ${end}`);
    assert.equal(counts.sent, 0);
  }
});
