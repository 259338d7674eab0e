import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectFrames, data, frame, headers, TYPES, webSocket } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { startProxy } from '../support.ts';
import { accepting, upgradeBackend } from './support.ts';

test('the end of a stream before its 101 reaches the backend behind it', async (t) => {
  let hasEnded = false;
  let accept = (): void => undefined;
  const backend = await upgradeBackend(t, (head, socket) => {
    socket.on('end', () => (hasEnded = true));
    accept = () => accepting(head, socket);
  });
  const proxy = await startProxy(t, { backends: [{ port: backend.port }], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, webSocket(), { ends: false }), data(1, '', { ends: true }));
  client.send(frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
  await client.wait('the answer to a PING', ({ type }) => type === TYPES.ping);
  await waitFor('the handshake', () => backend.heads.length === 1);
  accept();
  assert.equal(await client.status(1), 200);
  await waitFor('the end', () => hasEnded);
});
