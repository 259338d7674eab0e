/** Handshakes that never end, ends of connections, and what a certificate may look like. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { startRawBackend } from '../../support/backend.ts';
import { Authority } from '../../support/certificates.ts';
import { localTls, secureClient, secureSocket, tlsAddress } from '../../support/tls.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
const RESULTS = 'sluice_tls_handshakes_total';
const HALF_HELLO = '\x16\x03\x01\x02\x00\x01';

test('more than 1,024 handshakes are not under way: others end, and a client that is quick gets through', async (t) => {
  const { tls } = localTls();
  const proxy = await startProxy(t, { backends: [], tls });
  const slow = [];
  for (let i = 0; i < 1_030; i++) {
    const client = await proxy.connect();
    client.write(HALF_HELLO);
    slow.push(client);
  }
  await waitFor('six that were shed', () => proxy.metric(RESULTS, 'shed') === 6);
  assert.equal(proxy.server.connectionCount, 1_024);
  const socket = await secureSocket({ port: proxy.port });
  socket.destroy();
  for (const client of slow) client.close();
  await waitFor('no connection', () => proxy.server.connectionCount === 0);
});

test('a drain ends handshakes that have not begun, and serves those that are under way', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const proxy = await startProxy(t, { backends: [backend], tls: localTls().tls, http2: false });
  const silent = await proxy.connect();
  const raw = await proxy.connect();
  await waitFor('both', () => proxy.server.connectionCount === 2);
  // The rest of the client's hello waits until the drain has looked at both.
  const { promise: looked, resolve: goOn } = Promise.withResolvers<void>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const halting = new Duplex({
    read: () => undefined,
    write: (bytes: Buffer, _, done) => {
      raw.socket.write(bytes.subarray(0, 5), () => begin());
      void looked.then(() => raw.socket.write(bytes.subarray(5), done));
    },
  });
  raw.socket.on('data', (bytes) => halting.push(bytes));
  const secure = secureClient({ socket: halting });
  await begun;
  // The server reads what has left in the next turn of the loop.
  for (let turn = 0; turn < 2; turn += 1) await setImmediate();
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 5_000 });
  await waitFor('the end of the silent one', () => silent.ended || silent.closed);
  goOn();
  const client = await secure;
  client.write(GET);
  const answer = await client.readResponse();
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.all('connection'), ['close']);
  client.close();
  raw.close();
  await drained;
});

test('an answer that ends with the connection ends with close_notify, and an aborted one does not', async (t) => {
  let abort = false;
  let end: () => void = () => undefined;
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello');
      end = () => (abort ? socket.resetAndDestroy() : socket.end());
    });
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], tls: localTls().tls, http2: false });
  // openssl says whether the end was proper.
  const ask = async (): Promise<string> => {
    const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${proxy.port}`, '-quiet'], {
      stdio: 'pipe',
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => (output += String(data)));
    const closed = new Promise((resolve) => child.once('close', resolve));
    child.stdin.write('GET / HTTP/1.0\r\n\r\n');
    await waitFor('the beginning of the answer', () => output.includes('hello'));
    end();
    await closed;
    return output;
  };
  const whole = await ask();
  assert.match(whole, /hello/);
  assert.doesNotMatch(whole, /unexpected eof/);
  abort = true;
  assert.match(await ask(), /hello[\s\S]*unexpected eof/);
});

test('a closing answer with a length ends with close_notify, too', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const proxy = await startProxy(t, { backends: [backend], tls: localTls().tls, http2: false });
  const client = await secureClient({ port: proxy.port });
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  await waitFor('the end', () => client.ended);
  assert.equal(client.error, null);
  client.close();
  await waitFor('no connection', () => proxy.server.connectionCount === 0);
});

test('a client cannot renegotiate', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const proxy = await startProxy(t, { backends: [backend], tls: localTls().tls, http2: false });
  const socket = await secureSocket({ port: proxy.port, maxVersion: 'TLSv1.2' });
  t.after(() => socket.destroy());
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => socket.once('error', resolve));
  socket.renegotiate({}, () => undefined);
  assert.match(String((await failed).code), /NO_RENEGOTIATION/);
});

test('garbage after the handshake ends the connection', async (t) => {
  const proxy = await startProxy(t, { backends: [], tls: localTls().tls });
  const raw = await proxy.connect();
  const socket = await secureSocket({ socket: raw.socket });
  socket.on('error', () => undefined);
  await waitFor('the connection', () => proxy.server.connectionCount === 1);
  raw.socket.write('\x17\x03\x03\x00\x20garbage garbage garbage garbage gar');
  await waitFor('no connection', () => proxy.server.connectionCount === 0);
});

test('a client over TLS that takes nothing is cut, and one that is slow is not', async (t) => {
  const body = 'x'.repeat(8 << 20);
  const backend = await startCapturingBackend(t, () => ok(body));
  const timeouts = { writeIdleMs: 400 };
  const proxy = await startProxy(t, { backends: [backend], tls: localTls().tls, http2: false, timeouts });
  const stuck = await secureSocket({ port: proxy.port });
  stuck.on('error', () => undefined);
  stuck.write(GET);
  stuck.pause();
  await waitFor('the cut', () => proxy.lines.some(({ reason }) => reason === 'write_timeout'));
  stuck.destroy();
  const reader = await secureSocket({ port: proxy.port });
  t.after(() => reader.destroy());
  // 64 pauses of 20 ms: three times the deadline for the whole, and a twentieth of it for each.
  let bytes = 0;
  let unpausedBytes = 0;
  reader.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    unpausedBytes += chunk.length;
    if (unpausedBytes < 128 << 10) return;
    unpausedBytes = 0;
    reader.pause();
    setTimeout(() => reader.resume(), 20);
  });
  reader.write(GET);
  await waitFor('all of it', () => bytes > body.length);
  assert.equal(proxy.lines.at(-1)?.reason, 'ok');
});

test('a hundred certificates, one of them with many names', async (t) => {
  const authority = new Authority();
  const many = Array.from({ length: 300 }, (_, i) => `n${i}.many.test`);
  const few = Array.from({ length: 5 }, (_, i) => [`few${i}.test`]);
  const issued = [many, ...few].map((names): [string[], ReturnType<Authority['issue']>] => [
    names,
    authority.issue(names),
  ]);
  const copies = Array.from({ length: 94 }, (_, i): [string[], ReturnType<Authority['issue']>] => [
    [`copy${i}.test`],
    issued[1 + (i % 5)]![1],
  ]);
  const proxy = await startProxy(t, { backends: [], tls: tlsAddress([...issued, ...copies]) });
  for (const servername of ['n299.many.test', 'few4.test', 'copy93.test']) {
    const socket = await secureSocket({ port: proxy.port, servername });
    const wanted =
      servername === 'copy93.test' ? 'few3.test' : servername.startsWith('few') ? servername : 'n0.many.test';
    assert.equal(socket.getPeerCertificate().subject.CN, wanted);
    socket.destroy();
  }
});
