/** Large request bodies: they end at the right byte, obey back-pressure, and take no memory while they wait. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { BodyCheck, bodyOf } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { startProxy } from '../support.ts';
import { poisonBodyBuffers } from './bulk.ts';
import { usedBytes } from './memory.ts';

const MIB = 1_048_576;
const BODY_BYTES = 3 * MIB + 17;

function headOf(bytes: number, more = ''): string {
  return `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n${more}\r\n`;
}

/** A backend that answers whether the n-th body that it received is body n. */
async function startChecker(t: TestContext, onRequest: (request: IncomingMessage) => void = () => undefined) {
  const checker = { port: 0, requestCount: 0, receivedBytes: 0 };
  const backend = await startBackend((request, response) => {
    const bytes = Number(request.headers['content-length'] ?? 0);
    const check = new BodyCheck(bodyOf(checker.requestCount++, bytes));
    request.on('data', (chunk: Buffer) => {
      checker.receivedBytes += chunk.length;
      check.take(chunk);
    });
    request.on('end', () => response.end(check.whole ? 'whole' : `broken: ${check.problem} ${check.bytes}`));
    // The proxy may disconnect in the middle.
    request.on('error', () => response.destroy());
    onRequest(request);
  });
  t.after(() => backend.close());
  checker.port = backend.port;
  return checker;
}

test('pipelined large and small bodies each end at the right byte', async (t) => {
  const backend = await startChecker(t);
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
  assert.deepEqual(
    proxy.lines.map(({ bytesIn }) => bytesIn),
    [...sizes, 0],
  );
});

test('a client that disconnects in the middle of a body does not disturb later clients', async (t) => {
  const backend = await startChecker(t);
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: BODY_BYTES } });
  for (const [index, leave] of (['end', 'reset', 'close'] as const).entries()) {
    const leaving = await proxy.connect();
    leaving.write(headOf(BODY_BYTES));
    leaving.write(bodyOf(index, BODY_BYTES - 1));
    await waitFor('the body at the backend', () => backend.receivedBytes > (index + 0.5) * BODY_BYTES);
    leaving[leave]();
    await waitFor('the request to end', () => proxy.lines.length === index + 1);
    assert.deepEqual([proxy.lines[index]?.status, proxy.lines[index]?.reason], [499, 'client_abort']);
  }
  const staying = await proxy.connect();
  staying.write(headOf(1000));
  staying.write(bodyOf(3, 1000));
  assert.equal((await staying.readResponse()).body.toString(), 'whole');
});

test('while a backend pauses, further bytes of the body wait at the client', async (t) => {
  poisonBodyBuffers(t);
  const paused: IncomingMessage[] = [];
  const backend = await startChecker(t, (request) => paused.push(request.pause()));
  const body = bodyOf(0, 40 * MIB);
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: body.length } });
  const client = await proxy.connect();
  const before = usedBytes();
  client.write(headOf(body.length));
  // In pieces, because only whole pieces count as sent.
  for (let at = 0; at < body.length; at += MIB / 4) client.write(body.subarray(at, at + MIB / 4));
  await waitFor('the backend to be asked', () => paused.length === 1);
  let lastLeft = -1;
  const atRest = (): boolean => {
    const left = client.socket.writableLength;
    const same = left === lastLeft;
    lastLeft = left;
    return same && left > 0;
  };
  await waitFor('the client to be blocked', atRest, { everyMs: 100 });
  const grown = usedBytes() - before;
  assert.ok(grown < 4 * MIB, `${grown} bytes of memory`);
  paused[0]?.resume();
  assert.equal((await client.readResponse({ timeoutMs: 10_000 })).body.toString(), 'whole');
});

test('an answer before the end of the body is forwarded, and the rest of the body is discarded', async (t) => {
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
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(client.error, null, 'the connection was reset');
});

test('a body in small pieces is forwarded, and the request in the packet of the last piece is served', async (t) => {
  const backend = await startChecker(t);
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: BODY_BYTES } });
  const client = await proxy.connect();
  const body = bodyOf(0, 400_000);
  client.write(headOf(body.length));
  const lastBytes = 20_000;
  for (let sentBytes = 0; sentBytes < body.length - lastBytes; sentBytes += 20_000) {
    client.write(body.subarray(sentBytes, sentBytes + 20_000));
    await waitFor('the piece at the backend', () => backend.receivedBytes === sentBytes + 20_000);
  }
  client.write(Buffer.concat([body.subarray(-lastBytes), Buffer.from(headOf(5)), bodyOf(1, 5)]));
  assert.equal((await client.readResponse()).body.toString(), 'whole');
  assert.equal((await client.readResponse()).body.toString(), 'whole');
});

const SLOW_COUNT = 200;
/** For the objects of proxy, client and backend, which share this process. A read buffer alone would have 64 KiB. */
const SLOW_BYTES = 24 * 1024;

test(`${SLOW_COUNT} clients that pause in the middle of a body hold no read buffers`, async (t) => {
  const sockets: Socket[] = [];
  let receivedBytes = 0;
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.on('data', (chunk: Buffer) => {
      receivedBytes += chunk.length;
    });
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: BODY_BYTES } });
  const clients = await Promise.all(Array.from({ length: SLOW_COUNT }, () => proxy.connect()));
  const piece = Buffer.concat([Buffer.from(headOf(BODY_BYTES)), bodyOf(0, 20_000)]);
  const before = usedBytes();
  for (const client of clients) client.write(piece);
  await waitFor('all pieces at the backend', () => receivedBytes > SLOW_COUNT * piece.length);
  const eachBytes = (usedBytes() - before) / SLOW_COUNT;
  assert.ok(eachBytes < SLOW_BYTES, `${eachBytes} bytes each`);
});

/** A backend that stops reading after the head, answers, then reads on and compares the bytes with `body`. */
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

test('bytes on their way to a backend are not overwritten while the rest of the body is discarded', async (t) => {
  const { blocked } = poisonBodyBuffers(t);
  const body = bodyOf(0, 40 * MIB);
  const backend = await startStopping(t, body);
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: body.length } });
  const client = await proxy.connect();
  client.write(headOf(body.length));
  client.write(body);
  await waitFor('the upload to be blocked', () => blocked.size === 1);
  backend.answer();
  await client.waitForBytes('\r\na\r\n');
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  client.write(Buffer.alloc(MIB, '!'));
  await waitFor('all to be read', () => client.socket.writableLength === 0);
  const { seen } = backend;
  const { bytes } = seen;
  backend.goOn();
  await waitFor('the backend to read the rest', () => seen.bytes > bytes + 200_000);
  assert.ok(seen.whole);
});
