/** Tunnels whose clients come over TLS, where "the kernel has it" is not exact, and reads may come after a pause. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { WebSocket as WsClient } from 'ws';
import { bodyOf } from '../../support/pattern.ts';
import { localTls, secureClient } from '../../support/tls.ts';
import { untilStill, waitFor, within } from '../../support/wait.ts';
import { accessLineOf, startProxy } from '../support.ts';
import { accepting, switching, switchOn, upgradeBackend, upgradeHead, wsBackend } from './support.ts';

test('messages of every size pass both ways over TLS, and a drain says 1001', async (t) => {
  const { port } = await wsBackend(t);
  const { ca, tls } = localTls();
  const proxy = await startProxy(t, { backends: [{ port }], tls, http2: false });
  const ws = new WsClient(`wss://127.0.0.1:${proxy.port}/`, {
    ca,
    perMessageDeflate: false,
  });
  t.after(() => ws.terminate());
  await once(ws, 'open');
  const got: Buffer[] = [];
  ws.on('message', (data: Buffer) => got.push(data));
  const sent = [0, 1, 125, 126, 16_384, 16_385, 65_536, 1_000_000, 3].map((size, i) => bodyOf(i, size));
  for (const message of sent) ws.send(message);
  await waitFor('all echoes', () => got.length === sent.length);
  assert.ok(got.every((message, i) => message.equals(sent[i]!)));
  const closed = once(ws, 'close');
  await within(proxy.server.drain({ graceMs: 0, drainMs: 20_000 }), 8_000, 'the drain');
  assert.equal((await closed)[0], 1001);
  assert.equal((await accessLineOf(proxy, () => true)).protocol, 'websocket');
});

test('over TLS a FIN is passed on both ways, and a client that stops reading gets every byte later', async (t) => {
  const payload = bodyOf(1, 8 << 20);
  const backend = await upgradeBackend(t, (head, socket) => {
    if (!head.startsWith('GET /flood')) {
      accepting(head, socket);
      return;
    }
    socket.write(switching(head));
    socket.write(payload);
    socket.end();
    socket.on('data', () => undefined);
  });
  const { tls } = localTls();
  const proxy = await startProxy(t, { backends: [{ port: backend.port }], tls, http2: false });
  const client = await secureClient({ port: proxy.port });
  t.after(() => client.close());
  client.write(upgradeHead({ path: '/flood' }));
  await client.waitForBytes('\r\n\r\n');
  client.socket.pause();
  await untilStill('the flood', () => {
    const [socket] = backend.sockets;
    return socket === undefined ? 0 : socket.bytesWritten - socket.writableLength;
  });
  client.socket.resume();
  await waitFor('every byte and the FIN', () => client.ended);
  const at = client.received.indexOf('\r\n\r\n') + 4;
  assert.ok(client.received.subarray(at).equals(payload));
  client.end();
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'ok');

  const gone = await secureClient({ port: proxy.port });
  t.after(() => gone.close());
  await switchOn(gone);
  gone.socket.destroy();
  await waitFor('the end of the other tunnel', () => proxy.handler.tunnels.openCount === 0);
});
