/** Large request bodies that are read past node's parser, and what must be as if they were not. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { BodyBuffers } from '../../src/http1/body-buffers.ts';
import { DirectReader } from '../../src/worker/direct-reader.ts';
import { DirectReads, directReadsFor, probeDirectReads } from '../../src/worker/direct-reads.ts';
import { startBackend, startRawBackend } from '../support/backend.ts';
import { BodyCheck, bodyOf } from '../support/pattern.ts';
import { waitFor } from '../support/wait.ts';
import { poisonBodyBuffers } from './bulk.ts';
import { startProxy } from './support.ts';

const BODY_BYTES = 3 * 1_048_576 + 17;

/** Counts the bodies that were taken over from the parser. */
function watchTakeovers(t: TestContext): { count: number } {
  const seen = { count: 0 };
  const { begin } = DirectReader.prototype;
  t.mock.method(
    DirectReader.prototype,
    'begin',
    function (this: DirectReader, ...given: Parameters<typeof begin>) {
      const begun = begin.apply(this, given);
      if (begun) seen.count++;
      return begun;
    },
  );
  return seen;
}

/** The sockets that got a reader. */
function watchSockets(t: TestContext): Socket[] {
  const sockets: Socket[] = [];
  const { readerFor } = DirectReads.prototype;
  t.mock.method(DirectReads.prototype, 'readerFor', function (this: DirectReads, socket: Socket) {
    sockets.push(socket);
    return readerFor.call(this, socket);
  });
  return sockets;
}

function headOf(bytes: number, more = ''): string {
  return `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n${more}\r\n`;
}

/** A backend that says of each body whether it is the one of its number in the order of requests. */
function startChecker(onRequest: (request: IncomingMessage, index: number) => void = () => undefined) {
  let next = 0;
  return startBackend((request, response) => {
    const index = next++;
    const bytes = Number(request.headers['content-length'] ?? 0);
    const check = new BodyCheck(bodyOf(index, bytes));
    request.on('data', (chunk: Buffer) => check.take(chunk));
    request.on('end', () => response.end(check.whole ? 'whole' : `broken: ${check.problem} ${check.bytes}`));
    // The other side may leave in the middle.
    request.on('error', () => response.destroy());
    onRequest(request, index);
  });
}

test('this Node.js lets large bodies be read directly, and one that keeps things elsewhere does not', async (t) => {
  const buffers = new BodyBuffers({ poisoned: true });
  assert.ok((await directReadsFor(buffers)) instanceof DirectReads);
  const wrong = { buffer: Symbol('a'), callback: Symbol('b'), next: Symbol('c') };
  assert.equal(await probeDirectReads(new DirectReads(wrong, buffers)), false);
  t.mock.method(DirectReader.prototype, 'begin', () => false);
  assert.equal(await directReadsFor(buffers), null);
});

test('bodies and requests in one stream: each ends where it ends', async (t) => {
  const taken = watchTakeovers(t);
  const backend = await startChecker();
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: BODY_BYTES } });
  const client = await proxy.connect();
  const sizes = [BODY_BYTES, 5, BODY_BYTES, 0, 200_000, 131_073];
  sizes.forEach((bytes, index) => {
    client.write(headOf(bytes));
    client.write(bodyOf(index, bytes));
  });
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  for (const bytes of [...sizes, 0]) {
    const answer = await client.readResponse({ timeoutMs: 10_000 });
    assert.equal(answer.body.toString(), 'whole', `the body of ${bytes}`);
  }
  assert.ok(taken.count >= 2, `${taken.count} bodies were read directly`);
  assert.deepEqual(
    proxy.lines.map(({ bytesIn }) => bytesIn),
    [...sizes, 0],
  );
});

test('a client that leaves in the middle leaves a parser that shows bodies to others', async (t) => {
  const taken = watchTakeovers(t);
  const backend = await startChecker();
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: BODY_BYTES } });
  for (const leave of ['end', 'reset', 'close'] as const) {
    const before = taken.count;
    const leaving = await proxy.connect();
    leaving.write(headOf(BODY_BYTES));
    leaving.write(bodyOf(0, BODY_BYTES - 1));
    await waitFor('the body to be read directly', () => taken.count > before);
    leaving[leave]();
    await waitFor('the request to be over', () => proxy.lines.length === taken.count);
  }
  const staying = await proxy.connect();
  // node takes the parsers of closed connections for new ones.
  staying.write(headOf(1000));
  staying.write(bodyOf(3, 1000));
  assert.equal((await staying.readResponse()).body.toString(), 'whole');
  assert.equal(proxy.lines[0]?.status, 499);
});

test('a backend that pauses keeps what was read, and what comes on meanwhile waits at the client', async (t) => {
  const taken = watchTakeovers(t);
  const sockets = watchSockets(t);
  let paused: IncomingMessage | null = null;
  const backend = await startChecker((request) => {
    request.pause();
    paused = request;
  });
  t.after(() => backend.close());
  const bytes = 40 * 1_048_576;
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: bytes } });
  const client = await proxy.connect();
  client.write(headOf(bytes));
  client.write(bodyOf(0, bytes));
  await waitFor('the backend to be asked', () => paused !== null && taken.count === 1);
  const atRest = (): boolean => {
    const sent = client.socket.bytesWritten - client.socket.writableLength;
    const same = sent === lastSent;
    lastSent = sent;
    return same && client.socket.writableLength > 0;
  };
  let lastSent = -1;
  await waitFor('the client to be held back', atRest, { everyMs: 100 });
  // Reads that nobody asked for must not touch what waits for the backend.
  const [socket] = sockets;
  assert.ok(socket);
  for (let i = 0; i < 3; i++) {
    const { bytesRead } = socket;
    socket.resume();
    await waitFor('another read', () => socket.bytesRead > bytesRead);
  }
  (paused as IncomingMessage | null)?.resume();
  assert.equal((await client.readResponse({ timeoutMs: 10_000 })).body.toString(), 'whole');
});

test('an answer that comes before the body is over is passed on, and the rest of the body runs into nothing', async (t) => {
  const taken = watchTakeovers(t);
  const backend = await startBackend((request, response) => {
    request.once('data', () => {
      response.writeHead(403, { connection: 'close' });
      response.end('no');
    });
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: BODY_BYTES } });
  const client = await proxy.connect();
  client.write(headOf(BODY_BYTES));
  client.write(bodyOf(0, BODY_BYTES / 2));
  const answer = await client.readResponse();
  assert.equal(answer.status, 403);
  assert.equal(answer.header('connection'), 'close');
  client.write(bodyOf(1, 1_000_000));
  await client.waitForClose();
  assert.equal(taken.count, 1);
});

test('a client that sends little at a time holds no buffer meanwhile, and its last piece ends where it ends', async (t) => {
  const taken = watchTakeovers(t);
  let lent = 0;
  const { take, takeLarge, drop } = BodyBuffers.prototype;
  t.mock.method(BodyBuffers.prototype, 'take', function (this: BodyBuffers) {
    lent++;
    return take.call(this);
  });
  t.mock.method(BodyBuffers.prototype, 'takeLarge', function (this: BodyBuffers) {
    const buffer = takeLarge.call(this);
    if (buffer !== null) lent++;
    return buffer;
  });
  // give() drops what it takes back, too.
  t.mock.method(BodyBuffers.prototype, 'drop', function (this: BodyBuffers, buffer: Buffer<ArrayBuffer>) {
    lent--;
    drop.call(this, buffer);
  });
  let receivedBytes = 0;
  const backend = await startChecker((request) =>
    request.on('data', (chunk: Buffer) => {
      receivedBytes += chunk.length;
    }),
  );
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: BODY_BYTES } });
  const client = await proxy.connect();
  const body = bodyOf(0, 400_000);
  client.write(headOf(body.length));
  const lastBytes = 20_000;
  for (let sentBytes = 0; sentBytes < body.length - lastBytes; sentBytes += 20_000) {
    client.write(body.subarray(sentBytes, sentBytes + 20_000));
    await waitFor('the piece at the backend', () => receivedBytes === sentBytes + 20_000);
    assert.equal(lent, 0, `after ${sentBytes} bytes`);
  }
  assert.equal(taken.count, 1);
  // What comes in one packet with the last piece is another request.
  client.write(Buffer.concat([body.subarray(-lastBytes), Buffer.from(headOf(5)), bodyOf(1, 5)]));
  assert.equal((await client.readResponse()).body.toString(), 'whole');
  assert.equal((await client.readResponse()).body.toString(), 'whole');
});

/** A backend that stops reading at the head, answers before it reads on, and compares what it reads with `body`. */
async function startStopping(t: TestContext, body: Buffer) {
  const seen = { bytes: 0, whole: true };
  const sockets: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.on('data', (chunk: Buffer) => {
      let own = chunk;
      if (seen.bytes === 0) {
        socket.pause();
        own = chunk.subarray(chunk.indexOf('\r\n\r\n') + 4);
      }
      seen.whole &&= own.equals(body.subarray(seen.bytes, seen.bytes + own.length));
      seen.bytes += own.length;
    });
  });
  t.after(() => backend.close());
  const answer = () => sockets[0]?.write('HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n');
  return { port: backend.port, seen, answer, goOn: () => sockets[0]?.resume() };
}

test('what is on its way to a backend stays as it is while the rest from the client runs into nothing', async (t) => {
  const taken = watchTakeovers(t);
  const { blocked } = poisonBodyBuffers(t);
  const body = bodyOf(0, 40 * 1_048_576);
  const backend = await startStopping(t, body);
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: body.length } });
  const client = await proxy.connect();
  client.write(headOf(body.length));
  client.write(body);
  await waitFor('the upload to be stopped', () => taken.count === 1 && blocked.size === 1);
  backend.answer();
  await client.waitForBytes('\r\na\r\n');
  // A request that is not served takes the connection from the parser: reads go where the direct ones went.
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  client.write(Buffer.alloc(1_048_576, '!'));
  await waitFor('all to be read', () => client.socket.writableLength === 0);
  const { seen } = backend;
  const { bytes } = seen;
  backend.goOn();
  await waitFor('the rest of what was under way', () => seen.bytes > bytes + 200_000);
  assert.ok(seen.whole);
});
