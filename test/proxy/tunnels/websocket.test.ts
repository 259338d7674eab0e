/** WebSockets of real clients and servers through the proxy (B17). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { WebSocket as WsClient } from 'ws';
import { bodyOf } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { accessLineOf, startProxy } from '../support.ts';
import { wsBackend } from './support.ts';

const SIZES = [0, 1, 125, 126, 127, 1_000, 4_096, 16_384, 16_385, 65_535, 65_536, 70_000, 1_000_000];

test('messages of every size pass both ways, in order, for the clients of ws and of node (B17)', async (t) => {
  const { port } = await wsBackend(t);
  const proxy = await startProxy(t, { backends: [{ port }] });
  const url = `ws://127.0.0.1:${proxy.port}/chat?room=1`;
  const ws = new WsClient(url, { perMessageDeflate: false });
  t.after(() => ws.terminate());
  const got: Buffer[] = [];
  ws.on('message', (data: Buffer) => got.push(data));
  await once(ws, 'open');
  const sent = SIZES.map((size, i) => bodyOf(i, size));
  for (const message of sent) ws.send(message);
  await waitFor('all echoes', () => got.length === sent.length);
  assert.deepEqual(
    got.map((message, i) => message.equals(sent[i]!)),
    sent.map(() => true),
  );
  ws.close(1000, 'done');
  const [code] = await once(ws, 'close');
  assert.equal(code, 1000);

  const client = new WebSocket(url);
  await once(client, 'open');
  client.send('from node');
  const [{ data }] = await once(client, 'message');
  assert.equal(data, 'from node');
  client.close();
  await once(client, 'close');
});

test('a tunnel gets one access line, at its end, and counts as a request with code 101', async (t) => {
  const { port } = await wsBackend(t);
  const proxy = await startProxy(t, { backends: [{ port }] });
  const ws = new WsClient(`ws://127.0.0.1:${proxy.port}/chat?secret=1`, { perMessageDeflate: false });
  t.after(() => ws.terminate());
  await once(ws, 'open');
  assert.equal(proxy.metric('sluice_requests_total', 'default', 'GET', '101'), 1);
  assert.equal(proxy.metric('sluice_upstream_requests_total', '101'), 1);
  assert.deepEqual([proxy.handler.traffic.inFlight, proxy.handler.tunnels.openCount], [0, 1]);
  assert.equal(proxy.backend(`127.0.0.1:${port}`).inFlight, 1, 'least_requests counts tunnels');
  assert.deepEqual(proxy.lines, []);
  ws.send('hello');
  await once(ws, 'message');
  ws.close();
  await once(ws, 'close');
  const line = await accessLineOf(proxy, () => true);
  // A frame of 5 bytes and an empty close frame, masked from the client.
  assert.deepEqual(
    [line.status, line.reason, line.protocol, line.path, line.bytesIn, line.bytesOut, line.backend],
    [101, 'ok', 'websocket', '/chat', 11 + 6, 7 + 2, `127.0.0.1:${port}`],
  );
  assert.ok(line.totalMs >= (line.upstreamMs ?? 0), String(line.totalMs));
  assert.equal(proxy.backend(`127.0.0.1:${port}`).inFlight, 0);
  assert.equal(proxy.metric('sluice_bytes_total', 'in'), 17);
  assert.equal(proxy.metric('sluice_bytes_total', 'out'), 9);
  assert.equal(proxy.lines.length, 1);
});

test('extensions and protocols that both sides agree on pass', async (t) => {
  const { port, server } = await wsBackend(t);
  server.options.perMessageDeflate = true;
  const proxy = await startProxy(t, { backends: [{ port }] });
  const ws = new WsClient(`ws://127.0.0.1:${proxy.port}/`, ['a.b', 'c'], { perMessageDeflate: true });
  t.after(() => ws.terminate());
  await once(ws, 'open');
  assert.deepEqual([ws.protocol, ws.extensions], ['a.b', 'permessage-deflate']);
  const text = 'compress me '.repeat(10_000);
  ws.send(text);
  const [data] = await once(ws, 'message');
  assert.equal(String(data), text);
  ws.close();
  await once(ws, 'close');
});
