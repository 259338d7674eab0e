/** Requests to backends with TLS. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { WebSocketServer, WebSocket as WsClient } from 'ws';
import type { PoolSettings } from '../../../src/contract/pool-settings.ts';
import { listen } from '../../../test_backs/server.ts';
import { Authority } from '../../support/certificates.ts';
import { bodyOf } from '../../support/pattern.ts';
import { backendTlsSettings, routeSettings } from '../../support/settings.ts';
import { localTls } from '../../support/tls.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, pool, startProxy } from '../support.ts';

const authority = new Authority();
const ca = authority.root;
const good = authority.issue(['127.0.0.1', 'app.internal']);
const GET = 'GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n';

/** A pool of backends that all have TLS. */
function securePool(ports: number[], more: Partial<PoolSettings> = {}): PoolSettings {
  const app = pool('app', ports, { tls: backendTlsSettings({ ca }), ...more });
  return { ...app, backends: app.backends.map((backend) => ({ ...backend, tls: true })) };
}

/** A TLS backend whose connections and requests (by their first lines) are kept. @param answer '' for none */
async function startSecure(t: TestContext, answer: (text: string) => string, options: TlsOptions = good) {
  const sockets: Socket[] = [];
  const heads: string[] = [];
  const server = createTlsServer({ allowHalfOpen: true, ...options }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => {
      heads.push(data.toString('latin1'));
      const text = answer(data.toString('latin1'));
      if (text !== '') socket.write(text, 'latin1');
    });
  });
  server.on('tlsClientError', () => undefined);
  const backend = await listen(server, { port: 0 });
  t.after(() => backend.close());
  return { port: backend.port, sockets, heads };
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

test('requests go to https:// backends on connections that are used again; Host stays the one of the client', async (t) => {
  const backend = await startSecure(t, () => OK);
  const proxy = await startProxy(t, { pools: [securePool([backend.port])] });
  const client = await proxy.connect();
  for (let i = 0; i < 5; i++) {
    client.write(GET);
    const { status, body } = await client.readResponse();
    assert.deepEqual([status, body.toString()], [200, 'ok']);
  }
  assert.equal(backend.sockets.length, 1);
  assert.match(backend.heads[0] ?? '', /^GET \/ HTTP\/1\.1\r\nHost: shop\.example\r\n/);
});

test('a pool may mix backends with and without TLS', async (t) => {
  const secure = await startSecure(t, () => OK);
  const plain = await startCapturingBackend(t);
  const [first, second] = pool('app', [secure.port, plain.port]).backends;
  assert.ok(first !== undefined && second !== undefined);
  const mixed = pool('app', [], {
    backends: [{ ...first, tls: true }, second],
    tls: backendTlsSettings({ ca }),
  });
  const proxy = await startProxy(t, { pools: [mixed] });
  const client = await proxy.connect();
  for (let i = 0; i < 4; i++) {
    client.write(GET);
    assert.equal((await client.readResponse()).status, 200);
  }
  assert.deepEqual([secure.heads.length, plain.requests.length], [2, 2]);
});

test('B40: a certificate that is not accepted is 502 and connect_failed, says why, and no request is sent', async (t) => {
  const backend = await startSecure(t, () => OK);
  const tls = backendTlsSettings({ ca, serverName: 'other.internal' });
  const proxy = await startProxy(t, { pools: [securePool([backend.port], { tls })] });
  const client = await proxy.connect();
  client.write(GET);
  assert.equal((await client.readResponse()).status, 502);
  const { reason } = await accessLineOf(proxy, () => true);
  assert.equal(reason, 'connect_failed');
  assert.deepEqual(
    proxy.failures.map(({ detail }) => detail),
    ['connect failed: TLS: the certificate is not for other.internal (ERR_TLS_CERT_ALTNAME_INVALID)'],
  );
  assert.deepEqual(backend.heads, []);
});

test('after a failed handshake another backend is tried', async (t) => {
  const expired = authority.issue(['127.0.0.1'], {
    notBefore: new Date(Date.now() - 48 * 3_600_000),
    notAfter: new Date(Date.now() - 3_600_000),
  });
  const bad = await startSecure(t, () => OK, expired);
  const backend = await startSecure(t, () => OK);
  const proxy = await startProxy(t, { pools: [securePool([bad.port, backend.port])] });
  const client = await proxy.connect();
  client.write(GET);
  assert.equal((await client.readResponse()).status, 200);
  assert.match(proxy.failures[0]?.detail ?? '', /the certificate has expired/);
});

test('the deadline of a connect holds for the handshake too', async (t) => {
  const silent = await startCapturingBackend(t, () => null);
  const timeouts = { connectMs: 150, responseMs: 10_000, idleMs: 10_000 };
  const proxy = await startProxy(t, { pools: [securePool([silent.port], { timeouts })] });
  const client = await proxy.connect();
  client.write(GET);
  assert.equal((await client.readResponse()).status, 502);
  assert.deepEqual(
    proxy.failures.map(({ detail }) => detail),
    ['not connected within 150 ms'],
  );
});

test('a parked connection ends with a byte that nobody asked for, and with a close', async (t) => {
  const backend = await startSecure(t, () => OK);
  const proxy = await startProxy(t, { pools: [securePool([backend.port])] });
  const client = await proxy.connect();
  for (const end of [
    (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\n'),
    (socket: Socket) => socket.end(),
  ]) {
    client.write(GET);
    assert.equal((await client.readResponse()).body.toString(), 'ok');
    const socket = backend.sockets.at(-1);
    assert.ok(socket !== undefined);
    end(socket);
    await waitFor(
      'the connection is closed',
      () => [...proxy.plan().backends()][0]?.connections.openCount === 0,
    );
  }
  client.write(GET);
  assert.equal((await client.readResponse()).body.toString(), 'ok');
  assert.equal(backend.sockets.length, 3);
});

test('large bodies pass in both directions, also to a client that reads slowly', async (t) => {
  const body = bodyOf(9, 3_000_000);
  const server = createHttpsServer(good, (request, response) => {
    let received = 0;
    request.on('data', (chunk: Buffer) => (received += chunk.length));
    request.on('end', () => response.setHeader('x-received', String(received)).end(body));
  });
  const backend = await listen(server, { port: 0 });
  t.after(() => backend.close());
  const limits = { bodyBytes: 10_000_000 };
  const proxy = await startProxy(t, { pools: [securePool([backend.port])], limits });
  const client = await proxy.connect();
  client.socket.pause();
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`);
  client.write(body);
  await waitFor('the answer to wait', () =>
    proxy.server.connectionCount === 1 ? proxy.handler.traffic.inFlight === 1 : false,
  );
  client.socket.resume();
  const answer = await client.readResponse();
  const received = answer.headers.find(([name]) => name.toLowerCase() === 'x-received');
  assert.equal(received?.[1], String(body.length));
  assert.equal(Buffer.compare(answer.body, body), 0);
});

test('a reload with other TLS settings makes new connections; one with the same keeps them', async (t) => {
  const backend = await startSecure(t, () => OK);
  const proxy = await startProxy(t, { pools: [securePool([backend.port])] });
  const client = await proxy.connect();
  const ask = async () => {
    client.write(GET);
    return (await client.readResponse()).status;
  };
  assert.equal(await ask(), 200);
  proxy.reload({ pools: [securePool([backend.port])] });
  assert.equal(await ask(), 200);
  assert.equal(backend.sockets.length, 1);
  const tls = backendTlsSettings({ ca, serverName: 'app.internal' });
  proxy.reload({ pools: [securePool([backend.port], { tls })] });
  assert.equal(await ask(), 200);
  assert.equal(backend.sockets.length, 2);
  await waitFor('the first connection is closed', () => backend.sockets[0]?.readableEnded === true);
});

test('a WebSocket passes from a client with TLS to a backend with TLS: many and large messages, and the close', async (t) => {
  const server = createHttpsServer(good);
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  const backend = await listen(server, { port: 0 });
  t.after(() => backend.close());
  const { ca: clientCa, tls } = localTls();
  const route = routeSettings('all', {}, { upgrade: ['websocket'] });
  const proxy = await startProxy(t, {
    pools: [securePool([backend.port])],
    routes: [route],
    tls,
    http2: false,
  });
  const client = new WsClient(`wss://localhost:${proxy.port}/`, { ca: clientCa });
  t.after(() => client.terminate());
  await once(client, 'open');
  const messages = Array.from({ length: 50 }, (_, i) =>
    i % 10 === 0 ? Buffer.alloc(300_000, i) : Buffer.from(`message ${i}`),
  );
  const echoes: Buffer[] = [];
  client.on('message', (data: Buffer) => echoes.push(data));
  for (const message of messages) client.send(message);
  await waitFor('all echoes', () => echoes.length === messages.length);
  assert.equal(Buffer.compare(Buffer.concat(echoes), Buffer.concat(messages)), 0);
  const closed = once(client, 'close') as Promise<[number]>;
  client.close(1000, 'done');
  assert.equal((await closed)[0], 1000);
});
