import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import { block, connectFrames, type FrameClient, frame, request, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('heads that do not end are bounded for all connections of a worker together', async (t) => {
  const backend = await startCapturingBackend(t);
  const timeouts = { headersMs: 60_000 };
  const proxy = await startProxy(t, {
    backends: [backend],
    h2c: true,
    limits: { headerBytes: 1 << 20 },
    timeouts,
  });
  // They take 256 KiB each, so 64 MiB are full with 256 of them.
  const part = frame(TYPES.continuation, 0, 1, Buffer.alloc(16_384));
  const half = Buffer.concat([
    frame(TYPES.headers, 1, 1, block(request())),
    ...Array.from({ length: 8 }, () => part),
  ]);
  const clients: FrameClient[] = [];
  t.after(() => clients.forEach((client) => void client.close()));
  for (let i = 0; i < 300; i++) {
    const client = await connectFrames(proxy.url);
    clients.push(client);
    client.send(half);
  }
  await waitFor('the oldest to be cut', () => clients[0]?.closed === true);
  await waitFor('no more to be cut', () => clients.filter(({ closed }) => closed).length >= 40);
  assert.ok(clients.filter(({ closed }) => closed).length < 60);
  assert.equal(clients.at(-1)?.closed, false);
  assert.ok(proxy.metric('sluice_shed_total', 'overload') >= 40);
  assert.equal((await requestH2(connectH2(t, proxy.url), { ':path': '/' })).status, 200);
});
