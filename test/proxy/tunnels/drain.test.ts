/** What a drain does to tunnels: close frames between frames, in both directions (B17, B38). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { WebSocket as WsClient } from 'ws';
import { waitFor, within } from '../../support/wait.ts';
import { unmasked, wsFrame } from '../../support/ws-frames.ts';
import { accessLineOf, route, startProxy } from '../support.ts';
import { switching, switchOn, upgradeBackend, wsBackend } from './support.ts';

const GOING_AWAY = '\x88\x02\x03\xe9';

const frame = (opcode: number, payload: string) => wsFrame(opcode, payload).toString('latin1');

async function rawTunnel(t: TestContext, token = 'websocket') {
  const got = { backend: '' };
  const raw = await upgradeBackend(t, (head, socket) => {
    socket.write(switching(head));
    socket.on('data', (chunk) => {
      got.backend += chunk.toString('latin1');
    });
  });
  const routes = [route('default', {}, { upgrade: ['websocket', 'tcp-x'] })];
  const proxy = await startProxy(t, { backends: [{ port: raw.port }], routes });
  const client = await proxy.connect();
  await switchOn(client, { token });
  const [backend] = raw.sockets;
  assert.ok(backend);
  const text = () => client.received.toString('latin1');
  return { proxy, client, backend, got, text, backendEnded: () => backend.readableEnded };
}

test('B38: real clients and servers get the code 1001, and the drain is over at once', async (t) => {
  const codes: number[] = [];
  const { port } = await wsBackend(t, (socket) => socket.on('close', (code) => codes.push(code)));
  const proxy = await startProxy(t, { backends: [{ port }] });
  const ws = new WsClient(`ws://127.0.0.1:${proxy.port}/`);
  const client = new WebSocket(`ws://127.0.0.1:${proxy.port}/`);
  t.after(() => ws.terminate());
  await Promise.all([once(ws, 'open'), once(client, 'open')]);
  const closed = Promise.all([once(ws, 'close'), once(client, 'close')]);
  await within(proxy.server.drain({ graceMs: 0, drainMs: 20_000 }), 5_000, 'the drain');
  const [[code], [event]] = await closed;
  assert.deepEqual([code, event.code, event.wasClean], [1001, 1001, true]);
  await waitFor('both ends at the backend', () => codes.length === 2);
  assert.deepEqual(codes, [1001, 1001]);
  assert.deepEqual(
    proxy.lines.map(({ status, reason }) => [status, reason]),
    [
      [101, 'shutdown'],
      [101, 'shutdown'],
    ],
  );
});

test('the close frame waits for the end of the frame under way, also inside a read, and nothing follows it', async (t) => {
  const { proxy, client, backend, got, text, backendEnded } = await rawTunnel(t);
  const message = frame(0x02, 'abcdefgh');
  backend.write(Buffer.from(message.slice(0, 5), 'latin1'));
  await client.waitForBytes(message.slice(0, 5));
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 20_000 });
  await waitFor('the close frame at the backend', () => got.backend.length > 0);
  assert.deepEqual(unmasked(got.backend), { opcode: 0x88, payload: '\x03\xe9' });
  assert.equal(text(), message.slice(0, 5));
  backend.write(Buffer.from(message.slice(5) + frame(0x02, 'too late'), 'latin1'));
  await client.waitForBytes(GOING_AWAY);
  assert.equal(text(), message + GOING_AWAY);
  // Both peers answer, and Sluice ends both connections.
  client.write(wsFrame(0x88, '\x03\xe9', 1));
  backend.write(wsFrame(0x88, '\x03\xe9'));
  await waitFor('the FINs', () => client.ended && backendEnded());
  client.end();
  backend.end();
  await within(drained, 3_000, 'the drain');
  assert.deepEqual([text(), got.backend.length], [message + GOING_AWAY, 8]);
});

test('a close frame goes between the fragments of a message', async (t) => {
  const { proxy, client, backend, text } = await rawTunnel(t);
  backend.write(wsFrame(0x01, 'first'));
  await client.waitForBytes('first');
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 500 });
  await client.waitForBytes(GOING_AWAY);
  assert.equal(text(), frame(0x01, 'first') + GOING_AWAY);
  await drained;
});

test('a side that has said goodbye itself gets no second close frame behind its own', async (t) => {
  const { proxy, client, backend, text, got } = await rawTunnel(t);
  backend.write(wsFrame(0x88, '\x03\xe8'));
  await client.waitForBytes('\x88');
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 500 });
  await waitFor('the close frame at the backend', () => got.backend.length > 0);
  await drained;
  assert.equal(text(), frame(0x88, '\x03\xe8'));
});

test('peers that do not close are cut when the drain is over', async (t) => {
  const { proxy, client, text } = await rawTunnel(t);
  const startMs = performance.now();
  await proxy.server.drain({ graceMs: 0, drainMs: 700 });
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs >= 600 && tookMs < 5_000, `${tookMs} ms`);
  await waitFor('the end of the client', () => client.ended);
  assert.equal(text(), GOING_AWAY);
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'shutdown');
});

test('a tunnel of another protocol goes on until the drain is nearly over, then gets a FIN', async (t) => {
  const { proxy, client, backend, got, backendEnded } = await rawTunnel(t, 'tcp-x');
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 1_500 });
  client.write('ping');
  await waitFor('bytes during the drain', () => got.backend === 'ping');
  backend.write('pong');
  await client.waitForBytes('pong');
  await waitFor('the FIN at the client', () => client.ended && backendEnded());
  assert.equal(client.received.toString('latin1'), 'pong');
  await drained;
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'shutdown');
});
