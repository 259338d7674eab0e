import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startRawBackend } from '../../support/backend.ts';
import {
  CODES,
  connectFrames,
  data,
  FLAGS,
  type FrameClient,
  frame,
  headers,
  number32,
  request,
  settings,
  TYPES,
  webSocket,
} from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, startProxy } from '../support.ts';
import { switching, upgradeBackend } from '../tunnels/support.ts';

/** ends counts the frames of stream 1 that say it is whole. */
function ends(client: FrameClient): number {
  const frames = [...client.all(TYPES.data, 1), ...client.all(TYPES.headers, 1)];
  return frames.filter(({ flags }) => (flags & FLAGS.endStream) !== 0).length;
}

for (const [length, framing] of [
  ['a known length', 'Content-Length: 10\r\n\r\nfour'],
  ['an unknown length', 'Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n'],
] as const) {
  test(`an answer of ${length} that is cut ends by a reset, and not by END_STREAM`, async (t) => {
    const sockets: Socket[] = [];
    const backend = await startRawBackend((socket) => {
      sockets.push(socket);
      socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\n${framing}`));
    });
    t.after(() => backend.close());
    const proxy = await startProxy(t, { backends: [backend], h2c: true });
    const client = await connectFrames(proxy.url);
    t.after(() => client.close());
    client.send(headers(1, request()));
    await waitFor('the first piece', () => client.body(1) === 'four');
    sockets[0]?.resetAndDestroy();
    const { reason } = await accessLineOf(proxy, () => true);
    assert.notEqual(reason, 'ok');
    assert.equal(await client.resetCode(1), CODES.INTERNAL_ERROR);
    assert.equal(ends(client), 0);
  });
}

test('an answer that waits for its client ends before the rest of its request is refused', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url, settings([4, 4]));
  t.after(() => client.close());
  client.send(headers(1, request([], { method: 'POST' }), { ends: false }), data(1, 'more'));
  await waitFor('the body at the backend', () => backend.received[0]?.includes('more'));
  backend.sockets[0]?.write(ok('whole'));
  await waitFor('what the window lets pass', () => client.body(1) === 'whol');
  assert.deepEqual([ends(client), client.all(TYPES.reset, 1)], [0, []]);
  client.send(frame(TYPES.window, 0, 1, number32(10)));
  assert.equal(await client.resetCode(1), CODES.NO_ERROR);
  const last = client.frames.filter(({ stream }) => stream === 1).slice(-2);
  assert.deepEqual(
    last.map(({ type, flags, payload }) => [type, flags, payload.length]),
    [
      [TYPES.data, FLAGS.endStream, 1],
      [TYPES.reset, 0, 4],
    ],
  );
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'ok');
});

test('an answer to a body that nobody wants stays whole, however that body ends meanwhile', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true, limits: { bodyBytes: 10 } });
  const client = await connectFrames(proxy.url, settings([4, 4]));
  t.after(() => client.close());
  // Too large by its length, and by its bytes.
  for (const [id, length] of [
    [1, [['content-length', '20']]],
    [3, []],
  ] as const) {
    client.send(headers(id, request(length, { method: 'POST' }), { ends: false }));
    if (id === 3) client.send(data(id, 'a'.repeat(11)));
    assert.equal(await client.status(id), 413);
    client.send(data(id, 'b', { ends: true }), frame(TYPES.window, 0, id, number32(10_000)));
    await client.wait(
      'the end',
      ({ type, flags, stream }) => type === TYPES.data && stream === id && flags === 1,
    );
    assert.match(client.body(id), /body_too_large.*\}$/s);
    assert.deepEqual(client.all(TYPES.reset, id), []);
  }
});

test('a tunnel whose backend resets it ends by a reset, and not by END_STREAM', async (t) => {
  const sockets: Socket[] = [];
  const backend = await upgradeBackend(t, (head, socket) => {
    sockets.push(socket);
    socket.write(switching(head));
    socket.on('data', (chunk) => socket.write(chunk));
  });
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, webSocket(), { ends: false }));
  assert.equal(await client.status(1), 200);
  client.send(data(1, 'echo'));
  await waitFor('the echo', () => client.body(1) === 'echo');
  sockets[0]?.resetAndDestroy();
  assert.equal(await client.resetCode(1), CODES.CANCEL);
  assert.equal(ends(client), 0);
});

test('a backend that goes on with an answer without content is cut once the client has it', async (t) => {
  const backend = await startEndless205(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request()));
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'ok');
  const { closed } = backend;
  await waitFor('the end at the backend', () => closed.count === 1);
  assert.equal(proxy.backend(`127.0.0.1:${backend.port}`).inFlight, 0);
});

test('an upload goes on behind an answer without content, as long as it likes', async (t) => {
  const backend = await startEndless205(t);
  // The first look comes after a quarter of headersMs.
  const timeouts = { headersMs: 400, writeIdleMs: 100 };
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request([], { method: 'POST' }), { ends: false }));
  assert.equal(await client.status(1), 205);
  const answeredMs = performance.now();
  await waitFor('five times timeouts.writeIdle', () => {
    client.send(data(1, 'a'));
    return performance.now() - answeredMs > 500;
  });
  client.send(data(1, 'a', { ends: true }));
  const { reason } = await accessLineOf(proxy, () => true);
  assert.equal(reason, 'ok');
  assert.deepEqual(client.all(TYPES.reset, 1), []);
  await waitFor('the end at the backend', () => backend.closed.count === 1);
});

/** startEndless205 answers each request by a 205 whose body goes on for ever. It counts the connections that were closed. */
async function startEndless205(t: TestContext) {
  const closed = { count: 0 };
  const backend = await startRawBackend((socket) => {
    let writing: NodeJS.Timeout | undefined;
    socket.once('data', () => {
      socket.write('HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n\r\n');
      writing = setInterval(() => socket.write('1\r\nx\r\n'), 50);
    });
    socket.on('close', () => {
      clearInterval(writing);
      closed.count += 1;
    });
  });
  t.after(() => backend.close());
  return { ...backend, closed };
}
