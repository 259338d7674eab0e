import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend } from '../../support/backend.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import {
  block,
  CODES,
  connectFrames,
  data,
  FLAGS,
  frame,
  headers,
  integer,
  number32,
  PREFACE,
  request,
  settings,
  TYPES,
  webSocket,
} from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';
import { switching, upgradeBackend } from '../tunnels/support.ts';

const many = (count: number, make: (i: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => make(i)));
const PIECE = Buffer.alloc(65_536, 'a');
const idOf = (i: number) => 2 * i + 1;
const post = headers(1, request([], { method: 'POST' }), { ends: false });

/** One byte for a field of 4,000 bytes: the first head puts it into the table. */
function bomb(): Buffer {
  const big = Buffer.concat([
    Buffer.from([0x40, 1]),
    Buffer.from('x'),
    integer(4_000, 7),
    Buffer.alloc(4_000, 'a'),
  ]);
  const first = frame(TYPES.headers, 5, 1, Buffer.concat([block(request()), big]));
  const next = Buffer.concat([block(request()), Buffer.alloc(1_000, 0xbe)]);
  return Buffer.concat([first, many(150, (i) => frame(TYPES.headers, 5, idOf(i + 1), next))]);
}

const FLOODS: Record<string, [kind: string, Buffer]> = {
  'rapid reset': [
    'reset',
    many(300, (i) =>
      Buffer.concat([headers(idOf(i), request()), frame(TYPES.reset, 0, idOf(i), number32(CODES.CANCEL))]),
    ),
  ],
  PING: ['ping', many(300, () => frame(TYPES.ping, 0, 0, Buffer.alloc(8)))],
  SETTINGS: ['settings', many(300, () => settings())],
  'changes of the initial window': ['settings', many(300, (i) => settings([4, i]))],
  CONTINUATION: [
    'continuation',
    Buffer.concat([
      frame(TYPES.headers, 1, 1, block(request())),
      many(20, () => frame(TYPES.continuation, 0, 1)),
    ]),
  ],
  'empty DATA': ['invalid_frames', Buffer.concat([post, many(150, () => data(1, ''))])],
  'malformed heads': ['invalid_frames', many(150, (i) => headers(idOf(i), request([['connection', 'x']])))],
  'streams above the limit': [
    'invalid_frames',
    many(300, (i) => headers(idOf(i), request([], { method: 'POST' }), { ends: false })),
  ],
  'header bombs': ['oversized_heads', bomb()],
  'tiny WINDOW_UPDATEs': ['control_bytes', many(90_000, () => frame(TYPES.window, 0, 0, number32(1)))],
  PRIORITY: ['control_bytes', many(11_000, () => frame(TYPES.priority, 0, 1, Buffer.from([0, 0, 0, 0, 1])))],
  'unknown frames': ['control_bytes', many(120, () => frame(99, 0, 0, Buffer.alloc(10_000)))],
};

for (const [name, [kind, bytes]] of Object.entries(FLOODS)) {
  test(`a flood of ${name} ends its connection, is counted, and disturbs nobody`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [backend], h2c: true });
    const client = await connectFrames(proxy.url);
    t.after(() => client.close());
    client.send(bytes);
    assert.equal(await client.goaway(), CODES.ENHANCE_YOUR_CALM);
    await client.raw.waitForClose();
    await waitFor('the count', () => proxy.metric('sluice_http2_floods_total', kind) === 1);
    assert.equal(proxy.metric('sluice_http2_floods_total'), 1, 'once, and as no other kind');
    const session = connectH2(t, proxy.url);
    assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
  });
}

test('resets that come one by one end the connection too, and each aborts its request', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  for (let i = 0; !client.closed && i < 300; i++) {
    client.send(headers(idOf(i), request()));
    await waitFor('the request', () => backend.requests.length > i || client.closed, { everyMs: 1 });
    client.send(frame(TYPES.reset, 0, idOf(i), number32(CODES.CANCEL)));
  }
  await client.raw.waitForClose();
  assert.equal(proxy.metric('sluice_http2_floods_total', 'reset'), 1);
  await waitFor('the lines', () => proxy.lines.length >= 200);
  assert.deepEqual(new Set(proxy.lines.map(({ reason }) => reason)), new Set(['client_abort']));
});

test('a client that cancels what a stalled backend does not answer within a second may do so for ever', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  const TOGETHER = 120;
  for (let round = 0; round < 3; round++) {
    const ids = Array.from({ length: TOGETHER }, (_, i) => idOf(round * TOGETHER + i));
    const begunMs = performance.now();
    client.send(...ids.map((id) => headers(id, request())));
    await waitFor('the requests', () => backend.requests.length === (round + 1) * TOGETHER);
    await waitFor('a second', () => performance.now() - begunMs >= 1_100);
    client.send(...ids.map((id) => frame(TYPES.reset, 0, id, number32(CODES.CANCEL))));
  }
  await waitFor('the lines', () => proxy.lines.length === 3 * TOGETHER);
  assert.equal(client.closed, false);
  assert.equal(proxy.metric('sluice_http2_floods_total'), 0);
});

test('pieces of an upload buy no resets', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(
    post,
    many(1_000, () => data(1, 'a')),
  );
  await waitFor('the pieces', () => (backend.received[0]?.match(/a/g)?.length ?? 0) > 1_000);
  client.send(
    many(400, (i) =>
      Buffer.concat([
        headers(idOf(i + 1), request()),
        frame(TYPES.reset, 0, idOf(i + 1), number32(CODES.CANCEL)),
      ]),
    ),
  );
  await client.raw.waitForClose();
  assert.equal(proxy.metric('sluice_http2_floods_total', 'reset'), 1);
});

test('a client that is answered may ping and reset as much as it works', async (t) => {
  // It never ends its answers, so that each reset comes before the end.
  const backend = await startCapturingBackend(t, () => 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na');
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  const COUNT = 600;
  for (let i = 0; i < COUNT; i++) {
    client.send(headers(idOf(i), request()), frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
    assert.equal(await client.status(idOf(i)), 200);
    client.send(frame(TYPES.reset, 0, idOf(i), number32(CODES.CANCEL)));
    client.frames.length = 0;
  }
  await waitFor('the lines', () => proxy.lines.length === COUNT);
  assert.deepEqual(new Set(proxy.lines.map(({ reason }) => reason)), new Set(['client_abort']));
  assert.equal(proxy.metric('sluice_http2_floods_total'), 0);
});

/** Looks come every 25 ms. */
const oftenLooked = { writeIdleMs: 100 };

test('a client that opens its windows for each 2 KiB of a large download is no flood', async (t) => {
  const bodyBytes = 100 << 20;
  const backend = await startBackend((_incoming, response) => {
    let sentBytes = 0;
    const send = (): void => {
      for (let takes = true; takes && sentBytes < bodyBytes; sentBytes += PIECE.length) {
        takes = response.write(PIECE);
      }
      if (sentBytes === bodyBytes) response.end();
    };
    response.on('drain', send);
    send();
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts: oftenLooked });
  const client = await connectFrames(proxy.url, null);
  t.after(() => client.close());
  const { socket } = client.raw;
  const updates = Buffer.concat([0, 1].map((id) => frame(TYPES.window, 0, id, number32(2_048))));
  let receivedBytes = 0;
  let openedBytes = 0;
  // Frames are not looked at: that would take longer than all the rest.
  socket.removeAllListeners('data').on('data', (chunk) => {
    receivedBytes += chunk.length;
    const count = Math.floor((receivedBytes - openedBytes) / 2_048);
    openedBytes += count * 2_048;
    socket.write(Buffer.alloc(count * updates.length, updates));
  });
  const large = frame(TYPES.window, 0, 0, number32(2 ** 30));
  client.send(PREFACE, settings([4, 2 ** 30]), large, headers(1, request()));
  await waitFor('the whole answer', () => receivedBytes > bodyBytes || client.closed);
  assert.deepEqual([client.closed, proxy.metric('sluice_http2_floods_total')], [false, 0]);
});

test('a tunnel whose client sends many small messages and gets none is no flood', async (t) => {
  let receivedBytes = 0;
  const backend = await upgradeBackend(t, (head, socket) => {
    socket.write(switching(head));
    socket.on('data', (chunk) => (receivedBytes += chunk.length));
  });
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts: oftenLooked });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, webSocket(), { ends: false }));
  assert.equal(await client.status(1), 200);
  // One byte each, and nine of the frame.
  for (let i = 1; i <= 20 && !client.closed; i++) {
    client.send(many(10_000, () => data(1, 'a')));
    await waitFor('the bytes', () => receivedBytes === i * 10_000 || client.closed);
  }
  assert.deepEqual([client.closed, proxy.metric('sluice_http2_floods_total')], [false, 0]);
});

test('a connection that sends nothing after its preface, half a head, or no head at all, has the time of a head', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts: { headersMs: 300 } });
  const half = frame(TYPES.headers, FLAGS.endStream, 1, block(request()).subarray(0, 10));
  const after = frame(TYPES.headers, FLAGS.endStream, 3, block(request()).subarray(0, 10));
  for (const sent of [[], [settings()], [settings(), half]]) {
    const client = await connectFrames(proxy.url, null);
    client.send(PREFACE, ...sent);
    await client.raw.waitForClose();
    client.close();
  }
  const client = await connectFrames(proxy.url);
  client.send(headers(1, request()));
  assert.equal(await client.status(1), 200);
  client.send(after);
  await client.raw.waitForClose();
  client.close();
});

test('an idle connection ends after timeouts.keepAlive by GOAWAY', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts: { keepAliveMs: 300 } });
  const client = await connectFrames(proxy.url);
  client.send(headers(1, request()));
  assert.equal(await client.status(1), 200);
  await client.raw.waitForClose();
  const asked = [2 ** 31 - 1, CODES.NO_ERROR];
  assert.deepEqual(client.goaways(), [asked, [1, CODES.NO_ERROR]]);
  client.close();
});
