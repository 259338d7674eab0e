import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { BodyBuffers } from '../../src/upstream/body-buffers.ts';
import type { BackendPool } from '../../src/upstream/connection-pool.ts';
import { CHUNKED_BODY, type UpstreamRequest } from '../../src/upstream/exchange.ts';
import { startRawBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';
import { ask, get, makePool, RecordingSink, send } from './support.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Sends `pieces` as fast as it is let, each in memory of its own as node's parser delivers them. */
class UploadingSink extends RecordingSink {
  readonly #pieces: Buffer[];
  readonly #trailers: string[];
  sentBytes = 0;
  stopCount = 0;

  constructor(pieces: Buffer[], trailers: string[] = []) {
    super();
    this.#pieces = pieces;
    this.#trailers = trailers;
  }

  override onConnected(): void {
    super.onConnected();
    this.#pump();
  }

  override onRequestDrain(): void {
    super.onRequestDrain();
    this.#pump();
  }

  #pump(): void {
    for (let piece = this.#pieces.shift(); piece !== undefined; piece = this.#pieces.shift()) {
      const own = Buffer.allocUnsafeSlow(piece.length);
      piece.copy(own);
      this.sentBytes += piece.length;
      if (this.exchange?.writeBody(own) === false) {
        this.stopCount++;
        return;
      }
    }
    this.exchange?.endBody(this.#trailers);
  }
}

function upload(pool: BackendPool, request: Partial<UpstreamRequest>, sink: UploadingSink): UploadingSink {
  return send(pool, get('/up', { method: 'POST', ...request }), sink);
}

function pattern(bytes: number, seed: number): Buffer {
  const made = Buffer.alloc(bytes);
  for (let i = 0; i + 4 <= bytes; i += 4) made.writeUInt32LE((i * 2654435761 + seed) >>> 0, i);
  return made;
}

function cut(whole: Buffer, size: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < whole.length; at += size) pieces.push(whole.subarray(at, at + size));
  return pieces;
}

/** A backend that writes down everything it reads and answers when `until` is in it. */
async function recording(t: TestContext, until: string, answer = OK) {
  let received = '';
  const backend = await startRawBackend((socket) => {
    socket.on('data', (data) => {
      received += data.toString('latin1');
      if (received.endsWith(until)) socket.write(answer);
    });
  });
  t.after(() => backend.close());
  return { port: backend.port, received: () => received };
}

/** node's server answers with the hash of what it read; `slow` makes it read in fits. */
async function hashing(t: TestContext, slow = false) {
  const server = createServer((request, response) => {
    const hash = createHash('sha1');
    request.on('data', (data: Buffer) => {
      hash.update(data);
      if (!slow) return;
      request.pause();
      setTimeout(() => request.resume(), 2);
    });
    request.on('end', () => response.end(hash.digest('hex') + trailerText(request)));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function trailerText(request: IncomingMessage): string {
  return request.rawTrailers.length > 0 ? ` ${request.rawTrailers.join(' ')}` : '';
}

const HEAD = 'POST /up HTTP/1.1\r\nHost: test\r\n';

test('a request without a body has no framing line', async (t) => {
  const { port, received } = await recording(t, '\r\n\r\n');
  await ask(makePool(t, { port }), get('/a?b', { headerLines: 'Host: h\r\nX-A: \xe9\r\n' }));
  assert.equal(received(), 'GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: \xe9\r\n\r\n');
});

test('an empty body is framed as Content-Length: 0, and the connection is reused', async (t) => {
  const { port, received } = await recording(t, '\r\n\r\n');
  const pool = makePool(t, { port });
  await ask(pool, get('/up', { method: 'POST', bodyLength: 0 }));
  assert.equal(received(), `${HEAD}Content-Length: 0\r\n\r\n`);
  assert.equal(pool.idleCount, 1);
});

test('a body of known length arrives behind its head, whole, and the connection is reused', async (t) => {
  const { port, received } = await recording(t, 'hello');
  const pool = makePool(t, { port });
  const sink = await upload(
    pool,
    { bodyLength: 5 },
    new UploadingSink(cut(Buffer.from('hello'), 2)),
  ).finished();
  assert.equal(received(), `${HEAD}Content-Length: 5\r\n\r\nhello`);
  assert.equal(sink.body.toString(), 'ok');
  assert.equal(pool.idleCount, 1);
});

test('B23: a chunked body is framed anew, empty pieces do not end it, and the next request is not read from its bytes', async (t) => {
  const { port, received } = await recording(t, '0\r\n\r\n');
  const pool = makePool(t, { port });
  const large = 'z'.repeat(2_000);
  const pieces = ['hello', '', '0\r\n\r\nGET /evil', '.', large, '.'].map((text) => Buffer.from(text));
  await upload(pool, { method: 'DELETE', bodyLength: CHUNKED_BODY }, new UploadingSink(pieces)).finished();
  assert.equal(
    received(),
    'DELETE /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n' +
      `14\r\nhello0\r\n\r\nGET /evil.\r\n7d0\r\n${large}\r\n1\r\n.\r\n0\r\n\r\n`,
  );
  assert.equal(pool.idleCount, 1);
});

test('a body in pieces of one byte leaves in few chunks', async (t) => {
  const { port, received } = await recording(t, '0\r\n\r\n');
  const pool = makePool(t, { port });
  const pieces = Array.from({ length: 40_000 }, (_, i) => Buffer.from([97 + (i % 26)]));
  const whole = Buffer.concat(pieces).toString();
  await upload(pool, { bodyLength: CHUNKED_BODY }, new UploadingSink(pieces)).finished();
  const chunks = received().split('\r\n\r\n')[1]?.split('\r\n') ?? [];
  const body = chunks.filter((_, i) => i % 2 === 1).join('');
  assert.ok(body === whole, `${body.length} bytes arrived, or others`);
  assert.ok(chunks.length < 40, `${chunks.length / 2} chunks`);
});

test('small and large pieces keep their order and length', async (t) => {
  for (const bodyLength of [CHUNKED_BODY, 'exact'] as const) {
    const port = await hashing(t);
    const pool = makePool(t, { port });
    const pieces = Array.from({ length: 3_000 }, (_, i) => pattern((i * 7_919) % 2_500, i));
    const whole = Buffer.concat(pieces);
    const sink = upload(
      pool,
      { bodyLength: bodyLength === 'exact' ? whole.length : bodyLength },
      new UploadingSink(pieces),
    );
    await sink.finished();
    assert.match(sink.body.toString(), new RegExp(createHash('sha1').update(whole).digest('hex')));
  }
});

test('B23: request trailers pass, but for framing, routing and authentication', async (t) => {
  const port = await hashing(t);
  const pool = makePool(t, { port });
  const trailers = [
    'X-T',
    '1',
    'Host',
    'evil',
    'Content-Length',
    '3',
    'Authorization',
    'x',
    'X-U',
    'a\r\nb',
    'X_V',
    '1',
  ];
  const sink = upload(pool, { bodyLength: CHUNKED_BODY }, new UploadingSink([Buffer.from('a')], trailers));
  await sink.finished();
  assert.match(sink.body.toString(), / X-T 1$/);
});

const BIG_BYTES = 12_000_001;
for (const bodyLength of [BIG_BYTES, CHUNKED_BODY]) {
  for (const slow of [false, true]) {
    const how = `${bodyLength === CHUNKED_BODY ? 'chunked' : 'with a length'}${slow ? ' and read slowly' : ''}`;
    test(`an upload of 12 MB ${how} arrives as it was sent`, async (t) => {
      const port = await hashing(t, slow);
      const pool = makePool(t, { port, buffers: new BodyBuffers({ poisoned: true }) });
      const whole = pattern(BIG_BYTES, 7);
      const sink = await upload(pool, { bodyLength }, new UploadingSink(cut(whole, 65_536))).finished();
      assert.equal(sink.error, null);
      assert.equal(sink.body.toString(), createHash('sha1').update(whole).digest('hex'));
      assert.equal(sink.drainCount, sink.stopCount);
      // Else it would not show that memory is given back only when it has left.
      if (slow) assert.ok(sink.stopCount > 0);
    });
  }
}

test('forty uploads at once keep their bytes apart', async (t) => {
  const port = await hashing(t, true);
  const buffers = new BodyBuffers({ poisoned: true });
  const pool = makePool(t, { port, buffers });
  const wholes = Array.from({ length: 40 }, (_, i) => pattern(300_000, i));
  const sinks = wholes.map((whole) =>
    upload(pool, { bodyLength: whole.length }, new UploadingSink(cut(whole, 40_000))),
  );
  for (const [i, sink] of sinks.entries()) {
    await sink.finished();
    assert.equal(
      sink.body.toString(),
      createHash('sha1')
        .update(wholes[i] ?? '')
        .digest('hex'),
    );
  }
  assert.equal(buffers.uploadCount, 0);
});

test('a backend that reads nothing stops the upload: memory stays bounded, and reading on completes it', async (t) => {
  let socket: Socket | null = null;
  let receivedBytes = 0;
  const TOTAL = 64 << 20;
  const backend = await startRawBackend((accepted) => {
    socket = accepted;
    accepted.pause();
    accepted.on('data', (data) => {
      receivedBytes += data.length;
      if (receivedBytes > TOTAL) accepted.write(OK);
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const piece = Buffer.alloc(65_536, 'u');
  const pieces = Array.from({ length: TOTAL / piece.length }, () => piece);
  const sink = upload(pool, { bodyLength: TOTAL }, new UploadingSink(pieces));
  await waitFor('the upload to be stopped', () => sink.stopCount > sink.drainCount);
  let before = -1;
  await waitFor(
    'the upload to stand still',
    () => {
      const still = before === sink.sentBytes;
      before = sink.sentBytes;
      return still;
    },
    { everyMs: 50 },
  );
  // What the kernel takes on loopback, and one batch.
  assert.ok(sink.sentBytes < 24 << 20, `${sink.sentBytes} bytes were taken`);
  (socket as Socket | null)?.resume();
  await waitFor('the upload to finish', () => sink.over, { timeoutMs: 20_000 });
  assert.equal(sink.error, null);
  assert.ok(receivedBytes > TOTAL);
  assert.equal(pool.idleCount, 1);
});

test('B15: a backend that stops reading the request is upstream_timeout', async (t) => {
  const backend = await startRawBackend((socket) => socket.pause());
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port, idleMs: 200, responseMs: 100 });
  const piece = Buffer.alloc(1 << 20);
  const startMs = performance.now();
  const sink = upload(
    pool,
    { bodyLength: 64 << 20 },
    new UploadingSink(Array.from({ length: 64 }, () => piece)),
  );
  await sink.finished();
  assert.equal(sink.error?.code, 'upstream_timeout');
  assert.match(sink.error?.message ?? '', /stopped reading/);
  assert.ok(performance.now() - startMs >= 200);
});

test('B14: a long upload is not cut by the response deadline; the wait for the head begins with its last byte', async (t) => {
  const { port } = await recording(t, 'end');
  const pool = makePool(t, { port, responseMs: 120 });
  const sink = send(pool, get('/up', { method: 'POST', bodyLength: CHUNKED_BODY }), new RecordingSink());
  await waitFor('the connection', () => sink.calls.length > 0);
  const startMs = performance.now();
  await waitFor('three times the response deadline', () => {
    sink.exchange?.writeBody(Buffer.from('x'));
    return sink.over || performance.now() - startMs > 360;
  });
  assert.deepEqual(sink.calls, ['connected']);
  sink.exchange?.endBody([]);
  await sink.finished();
  assert.equal(sink.error?.code, 'upstream_timeout');
});

test('a final answer before the end of the body is delivered, and the connection closes', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nbig'));
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const sink = send(pool, get('/up', { method: 'POST', bodyLength: 1_000_000 }), new RecordingSink());
  await sink.finished();
  assert.equal(sink.head?.status, 413);
  assert.equal(sink.body.toString(), 'big');
  assert.equal(sink.exchange?.writeBody(Buffer.alloc(10)), true, 'a no-op after the end');
  sink.exchange?.endBody([]);
  await waitFor('the connection to close', () => pool.openCount === 0);
});

test('an answer that streams while the body is still being sent reaches its end with it', async (t) => {
  const server = createServer((request, response) => {
    response.flushHeaders();
    let received = '';
    request.on('data', (data) => {
      received += String(data);
    });
    request.on('end', () => response.end(received));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close());
  const pool = makePool(t, { port: (server.address() as AddressInfo).port, idleMs: 250 });
  const sink = send(pool, get('/up', { method: 'POST', bodyLength: CHUNKED_BODY }), new RecordingSink());
  await waitFor('the early head', () => sink.head !== null);
  const startMs = performance.now();
  let sent = '';
  // Longer than idleMs in total: the client's pace is no silence of the backend.
  await waitFor(
    'an upload for longer than idleMs',
    () => {
      sent += 'ping';
      sink.exchange?.writeBody(Buffer.from('ping'));
      return performance.now() - startMs > 600;
    },
    { everyMs: 40 },
  );
  sink.exchange?.endBody([]);
  await sink.finished();
  assert.equal(sink.error, null);
  assert.equal(sink.body.toString(), sent);
  assert.equal(pool.idleCount, 1, 'request and response are both complete');
});

for (const how of ['FIN', 'RST'] as const) {
  test(`R28 an answer followed by ${how} is delivered although the upload fails to be written`, async (t) => {
    for (let round = 0; round < 20; round++) {
      const backend = await startRawBackend((socket) => {
        socket.pause();
        // The request is not read: closing then resets the connection behind the answer.
        const answer = 'HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig';
        if (how === 'FIN') socket.end(answer, () => setImmediate(() => socket.destroy()));
        else socket.write(answer, () => socket.destroy());
      });
      const pool = makePool(t, { port: backend.port });
      const piece = Buffer.alloc(1 << 20);
      const sink = upload(
        pool,
        { bodyLength: 64 << 20 },
        new UploadingSink(Array.from({ length: 64 }, () => piece)),
      );
      await sink.finished();
      await backend.close();
      assert.equal(sink.error, null, `round ${round}: ${sink.error?.message}`);
      assert.equal(sink.head?.status, 413);
      assert.equal(sink.body.toString(), 'big');
    }
  });
}

test('an upload into a reset connection ends as upstream_reset', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.resetAndDestroy());
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const piece = Buffer.alloc(1 << 20);
  const sink = upload(
    pool,
    { bodyLength: 64 << 20 },
    new UploadingSink(Array.from({ length: 64 }, () => piece)),
  );
  await sink.finished();
  assert.equal(sink.error?.code, 'upstream_reset');
  assert.equal(sink.error?.retryable, false);
});

test('a body that differs from its announced length never reaches the next request', async (t) => {
  const { port, received } = await recording(t, 'never');
  const pool = makePool(t, { port });
  const long = send(pool, get('/up', { method: 'POST', bodyLength: 4 }), new RecordingSink());
  await waitFor('the connection', () => long.calls.length > 0);
  long.exchange?.writeBody(Buffer.from('1234'));
  await waitFor('the announced body', () => received().endsWith('1234'));
  long.exchange?.writeBody(Buffer.from('5'));
  assert.equal(long.error?.code, 'internal_error');
  const short = upload(pool, { bodyLength: 4 }, new UploadingSink([Buffer.from('123')]));
  await short.finished();
  assert.equal(short.error?.code, 'internal_error');
  const none = send(pool, get(), new RecordingSink());
  await waitFor('the request without a body', () => received().includes('GET '));
  none.exchange?.writeBody(Buffer.from('x'));
  assert.equal(none.error?.code, 'internal_error');
  const early = send(pool, get('/up', { method: 'POST', bodyLength: 4 }), new RecordingSink());
  early.exchange?.writeBody(Buffer.from('1234'));
  assert.equal(early.error?.code, 'internal_error', 'no body byte before onConnected');
  await waitFor('all connections to close', () => pool.openCount === 0);
  assert.doesNotMatch(received(), /12345/);
});

for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS']) {
  test(`a body on ${method} is forwarded, framed; only GET and HEAD end the connection`, async (t) => {
    const answer = method === 'HEAD' ? 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n' : OK;
    const { port, received } = await recording(t, 'abc', answer);
    const pool = makePool(t, { port });
    await upload(pool, { method, bodyLength: 3 }, new UploadingSink([Buffer.from('abc')])).finished();
    assert.match(received(), /Content-Length: 3\r\n\r\nabc$/);
    assert.equal(pool.idleCount, method === 'GET' || method === 'HEAD' ? 0 : 1);
  });
}

test('an abort in the middle of a blocked upload leaves nothing open and nothing counted', async (t) => {
  const backend = await startRawBackend((socket) => socket.pause());
  t.after(() => backend.close());
  const buffers = new BodyBuffers({ poisoned: true });
  const pool = makePool(t, { port: backend.port, buffers });
  const piece = Buffer.alloc(1 << 20);
  const sink = upload(
    pool,
    { bodyLength: CHUNKED_BODY },
    new UploadingSink(Array.from({ length: 64 }, () => piece)),
  );
  await waitFor('the upload to be stopped', () => sink.stopCount > sink.drainCount);
  assert.equal(buffers.uploadCount, 1);
  sink.exchange?.destroy();
  assert.equal(buffers.uploadCount, 0);
  await waitFor('no socket', () => pool.openCount === 0, { everyMs: 1 });
  assert.equal(sink.error, null);
});
