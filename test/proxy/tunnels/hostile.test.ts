/** Hostile and odd traffic inside tunnels. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { WebSocket as WsClient } from 'ws';
import { Random } from '../../fuzz/random.ts';
import { writeUntilStuck } from '../../support/raw-http.ts';
import { waitFor, within } from '../../support/wait.ts';
import { wsFrame } from '../../support/ws-frames.ts';
import { startProxy } from '../support.ts';
import { accepting, switching, switchOn, upgradeBackend, wsBackend } from './support.ts';

test('messages and fragments of random sizes, pings among them, come back as they went', async (t) => {
  const { port } = await wsBackend(t);
  const proxy = await startProxy(t, { backends: [{ port }] });
  const random = new Random(4711);
  const clients = await Promise.all(
    Array.from({ length: 4 }, async (_, i) => {
      const ws = new WsClient(`ws://127.0.0.1:${proxy.port}/`, { perMessageDeflate: i % 2 === 0 });
      t.after(() => ws.terminate());
      const sent: string[] = [];
      const got: string[] = [];
      let pongs = 0;
      ws.on('message', (data) => got.push(String(data))).on('pong', () => pongs++);
      await once(ws, 'open');
      for (let message = 0; message < 60; message++) {
        // Small ones mostly.
        const size = random.below(random.below(random.oneIn(4) ? 300_000 : 3_000));
        const text = String.fromCharCode(97 + (message % 26)).repeat(size);
        sent.push(text);
        const middle = random.below(size);
        if (random.oneIn(2)) ws.send(text);
        else {
          ws.send(text.slice(0, middle), { fin: false });
          ws.ping();
          ws.send(text.slice(middle), { fin: true });
        }
      }
      return { ws, sent, got, pongs: () => pongs };
    }),
  );
  for (const { ws, sent, got } of clients) {
    await waitFor('all messages', () => got.length === sent.length);
    assert.ok(got.every((text, i) => text === sent[i]));
    ws.close(1000);
    const [code] = await once(ws, 'close');
    assert.equal(code, 1000);
  }
});

test('100,000 frames of one byte, and single bytes, come back whole', async (t) => {
  const backend = await upgradeBackend(t, accepting);
  const proxy = await startProxy(t, { backends: [{ port: backend.port }] });
  const client = await proxy.connect();
  await switchOn(client);
  const frames = Buffer.alloc(7 * 100_000, wsFrame(0x82, 'y', 1));
  client.write(frames);
  await waitFor('the echo', () => client.received.length === frames.length);
  assert.ok(client.received.equals(frames));
  client.received = Buffer.alloc(0);
  for (let i = 0; i < 700; i++) client.write(frames.subarray(i, i + 1));
  await waitFor('the bytes', () => client.received.length === 700);
  client.reset();
});

test('floods in both directions into peers that do not read hold one buffer per direction', async (t) => {
  const sockets: Socket[] = [];
  const backend = await upgradeBackend(t, (head, socket) => {
    socket.write(switching(head));
    sockets.push(socket);
  });
  const proxy = await startProxy(t, { backends: [{ port: backend.port }] });
  const TUNNELS = 8;
  const clients = await Promise.all(Array.from({ length: TUNNELS }, () => proxy.connect()));
  for (const client of clients) await switchOn(client);
  const piece = Buffer.alloc(1 << 20, 'x');
  const before = process.memoryUsage().arrayBuffers;
  const ends = [...clients.map(({ socket }) => socket), ...sockets];
  for (const socket of ends) socket.pause();
  // The kernel takes some megabytes of each.
  const floods = Promise.all(ends.map((socket) => writeUntilStuck(socket, piece)));
  const written = (await within(floods, 30_000, 'the floods to stop')).reduce((sum, bytes) => sum + bytes, 0);
  const held = process.memoryUsage().arrayBuffers - before;
  // A buffer of 64 KiB per direction, and what the sockets of this test have read. They write the same piece all the time.
  const readBytes = ends.reduce((sum, { readableLength }) => sum + readableLength, 0);
  assert.ok(held <= TUNNELS * 2 * 65_536 + readBytes + (1 << 19), `${held} bytes held of ${written}`);
  assert.equal(proxy.handler.tunnels.openCount, TUNNELS);
  for (const client of clients) client.reset();
  await waitFor('the end of the tunnels', () => proxy.handler.tunnels.openCount === 0);
});
