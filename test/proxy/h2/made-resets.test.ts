import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CODES,
  connectFrames,
  data,
  frame,
  headers,
  number32,
  request,
  settings,
  TYPES,
} from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const idOf = (i: number) => 2 * i + 1;
const post = (i: number, length: string) =>
  headers(idOf(i), request([['content-length', length]], { method: 'POST' }), { ends: false });

/** What makes Sluice reset a stream whose request was passed on. */
const MISDEEDS: Record<string, { open: (i: number) => Buffer; spoil: (i: number) => Buffer }> = {
  'too large a window': {
    open: (i) => headers(idOf(i), request()),
    spoil: (i) => frame(TYPES.window, 0, idOf(i), number32(2 ** 31 - 1)),
  },
  'a body longer than announced': { open: (i) => post(i, '1'), spoil: (i) => data(idOf(i), 'ab') },
  'a body where none was announced': { open: (i) => post(i, '0'), spoil: (i) => data(idOf(i), 'a') },
  'a body shorter than announced': {
    open: (i) => post(i, '3'),
    spoil: (i) => data(idOf(i), 'ab', { ends: true }),
  },
};

for (const [name, { open, spoil }] of Object.entries(MISDEEDS)) {
  test(`a client that makes Sluice reset its requests by ${name} floods as one that resets them`, async (t) => {
    const backend = await startCapturingBackend(t, () => null);
    const proxy = await startProxy(t, { backends: [backend], h2c: true });
    const client = await connectFrames(proxy.url);
    t.after(() => client.close());
    for (let i = 0; !client.closed && i < 300; i++) {
      client.send(open(i));
      // Each has a connection of its own, because none is answered.
      await waitFor('the request', () => backend.received.length > i || client.closed, { everyMs: 1 });
      client.send(spoil(i));
    }
    await client.raw.waitForClose();
    assert.equal(await client.goaway(), CODES.ENHANCE_YOUR_CALM);
    assert.equal(proxy.metric('sluice_http2_floods_total', 'reset'), 1);
    await waitFor('the lines', () => proxy.lines.length >= 200);
    assert.deepEqual(new Set(proxy.lines.map(({ reason }) => reason)), new Set(['client_abort']));
  });
}

test('a client that reads nothing cannot collect heads of answers to requests that it resets', async (t) => {
  const large = Buffer.alloc(20_000_000);
  const backend = await startCapturingBackend(t, ({ target }) =>
    target === '/large'
      ? `HTTP/1.1 200 OK\r\nContent-Length: ${large.length}\r\n\r\n${large.toString('latin1')}`
      : `HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(12_000)}\r\nContent-Length: 0\r\n\r\n`,
  );
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url, settings([4, 2 ** 30]));
  t.after(() => client.close());
  client.raw.socket.pause();
  client.send(frame(TYPES.window, 0, 0, number32(2 ** 30)), headers(1, request([], { path: '/large' })));
  let count = 1;
  const isCut = () => proxy.lines.some(({ path }) => path === '/large');
  for (; !isCut() && count < 2_000; count += 50) {
    const ids = Array.from({ length: 50 }, (_, i) => idOf(count + i));
    client.send(...ids.map((id) => headers(id, request())));
    await waitFor('the requests', () => backend.requests.length >= count + 50 || isCut());
    client.send(...ids.map((id) => frame(TYPES.reset, 0, id, number32(CODES.CANCEL))));
  }
  assert.ok(isCut(), `after ${count} requests`);
  assert.ok(count > 200, 'what 128 streams may hold is no flood');
});
