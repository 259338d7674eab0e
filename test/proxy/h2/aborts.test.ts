/** How clients end requests that are under way, properly or not: what the backend sees, and who else is disturbed. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  CODES,
  connectFrames,
  data,
  type FrameClient,
  frame,
  headers,
  number32,
  request,
  TYPES,
} from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

/** Sends a head, waits until the backend has it, and sends the rest. */
async function afterHead(t: TestContext, head: Buffer, rest: (client: FrameClient) => void) {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(head, data(1, 'abc'));
  await waitFor('the head at the backend', () => backend.received[0]?.includes('abc'));
  rest(client);
  await waitFor('the cut of the request', () => backend.closedCount === 1);
  assert.deepEqual(backend.requests, [], 'the backend never sees a whole request');
  return { proxy, received: backend.received[0] ?? '' };
}

for (const [name, rest] of [
  ['too long', [data(1, 'defg', { ends: true })]],
  ['too short', [data(1, 'd', { ends: true })]],
  ['ended by trailers too early', [headers(1, [['x', '1']])]],
  ['reset', [frame(TYPES.reset, 0, 1, number32(CODES.CANCEL))]],
  ['followed by a malformed frame', [frame(TYPES.window, 0, 1, number32(0))]],
] as const) {
  test(`a body that is ${name} while the backend reads it cuts the backend's request`, async (t) => {
    const head = headers(1, request([['content-length', '6']], { method: 'POST' }), { ends: false });
    const { proxy, received } = await afterHead(t, head, (client) => client.send(...rest));
    assert.equal(received.includes('defg'), false, 'nothing above the announced length');
    await waitFor('the line', () => proxy.lines.length === 1);
    assert.equal(proxy.lines[0]?.reason, 'client_abort');
    assert.equal(proxy.lines[0]?.status, 499);
  });
}

test('B28: a client that ends its connection by a FIN aborts its requests, without a frame', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request()));
  await waitFor('the request at the backend', () => backend.requests.length === 1);
  client.raw.end();
  await waitFor('the access line', () => proxy.lines[0]);
  assert.equal(proxy.lines[0]?.reason, 'client_abort');
  await waitFor('the end at the backend', () => backend.closedCount === 1);
  assert.equal(proxy.server.connectionCount, 0);
});

test('a reset stream aborts its own request only', async (t) => {
  const backend = await startCapturingBackend(t, ({ target }) => (target === '/slow' ? null : ok('')));
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request([], { path: '/slow' })), headers(3, request([], { path: '/slow' })));
  await waitFor('both at the backend', () => backend.requests.length === 2);
  client.send(frame(TYPES.reset, 0, 1, number32(CODES.CANCEL)));
  await waitFor('the abort', () => proxy.lines.length === 1 && backend.closedCount === 1);
  assert.equal(proxy.lines[0]?.reason, 'client_abort');
  client.send(headers(5, request()));
  assert.equal(await client.status(5), 200);
  for (const socket of backend.sockets) {
    if (!socket.destroyed) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
  }
  assert.equal(await client.status(3), 204);
});
