/** Two real workers between clients and backends that reset, break off, lie about lengths and half-close at every point of an exchange. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { startRawBackend } from '../support/backend.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { metricOf, poolOf, workersOf } from './support.ts';

const CLIENTS = 2_000;
const CONCURRENT = 100;
/** Deadline of a client whose connection nobody cuts. */
const CLIENT_LIFE_MS = 300;

const chance = (part: number) => Math.random() < part;
const below = (n: number) => Math.floor(Math.random() * n);
const oneOf = <T>(list: readonly T[]): T => list[below(list.length)] as T;

function leave(socket: Socket): void {
  if (socket.destroyed || !socket.writable) return;
  oneOf([() => socket.end(), () => socket.destroy(), () => socket.resetAndDestroy()])();
}

const later = (socket: Socket, ms: number) => setTimeout(() => leave(socket), below(ms)).unref();
const BODY = Buffer.alloc(200_000, 'x');
const lengthHead = (bytes: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`;

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const SWITCH = `HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n`;

/** What a backend does with a complete or incomplete request. */
const ANSWERS: ((socket: Socket) => void)[] = [
  (socket) => leave(socket),
  (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nConte');
    later(socket, 5);
  },
  (socket) => {
    socket.write(lengthHead(BODY.length + 10));
    socket.write(BODY);
    later(socket, 20);
  },
  (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    later(socket, 20);
  },
  (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    socket.write(BODY);
    later(socket, 20);
  },
  (socket) => void socket.write('HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n'),
  (socket) => void socket.write('HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n'),
  (socket) => void socket.write(`${SWITCH}Sec-WebSocket-Protocol: x\r\n\r\n`),
  (socket) => void socket.write(`HTTP/1.1 103 Early\r\nLink: a\r\n\r\n${lengthHead(2)}ok`),
  (socket) => void socket.write(Buffer.concat([Buffer.from(lengthHead(BODY.length)), BODY])),
  (socket) => void socket.write(`${lengthHead(2)}ok`),
];

function switchProtocols(socket: Socket): void {
  socket.write(`${SWITCH}\r\nbehind the 101`);
  later(socket, 60);
}

function attackedBackend(socket: Socket): void {
  if (chance(0.03)) later(socket, 5);
  socket.on('end', () => socket.end());
  socket.on('data', (chunk: Buffer) => {
    if (socket.writable && chunk.includes('Upgrade: websocket') && chance(0.5)) switchProtocols(socket);
    // Requests are not counted: extra and early answers are part of the attack.
    else if (socket.writable && (chunk.includes('HTTP/1.1\r\n') || chance(0.1))) oneOf(ANSWERS)(socket);
  });
}

const HOST = 'HTTP/1.1\r\nHost: a\r\n';
const post = (bytes: number, lines = '') =>
  `POST /b ${HOST}${lines}Content-Length: ${bytes}\r\n\r\n${'y'.repeat(bytes)}`;
const REQUESTS: (() => string)[] = [
  () => `GET /a ${HOST}\r\n`,
  () => `HEAD /h ${HOST}\r\n`,
  () => post(oneOf([5, 70_000, 300_000])),
  () => post(300, 'Expect: 100-continue\r\n'),
  () => `PUT /c ${HOST}Transfer-Encoding: chunked\r\n\r\n11170\r\n${'z'.repeat(70_000)}\r\n0\r\n\r\n`,
  () => `PUT /c ${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
  () => `GET /u ${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nxxxx`,
  () =>
    `GET /w ${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\n\r\nearly bytes`,
  () => 'GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
  () => `CONNECT a:1 ${HOST}\r\n`,
  () => 'nonsense\r\n\r\n',
];

/** Returns all bytes that the client received. */
function attack(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    const life = setTimeout(() => socket.destroy(), CLIENT_LIFE_MS);
    socket.on('close', () => {
      clearTimeout(life);
      resolve(text);
    });
    if (chance(0.1)) socket.pause();
    socket.on('connect', () => {
      const bytes = Buffer.from(Array.from({ length: 1 + below(4) }, () => oneOf(REQUESTS)()).join(''));
      const cutAt = chance(0.5) ? bytes.length : below(bytes.length + 1);
      const middle = below(cutAt + 1);
      socket.write(bytes.subarray(0, middle));
      setImmediate(() => socket.writable && socket.write(bytes.subarray(middle, cutAt)));
      if (chance(0.6)) later(socket, 60);
    });
  });
}

const openFiles = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;

test('B39: thousands of resets by clients and backends end no worker, leak nothing, and each request is counted once', async (t) => {
  const backends = [await startRawBackend(attackedBackend), await startRawBackend(attackedBackend)];
  t.after(() => Promise.all(backends.map((backend) => backend.close())));
  const second = '1s';
  const sluice = await startSluice({
    config: {
      workers: 2,
      pools: poolOf(backends, { timeouts: { response: second, idle: second } }),
      timeouts: { headers: second, bodyIdle: second },
    },
  });
  t.after(() => sluice.stop());
  const port = Number(new URL(sluice.proxyUrl).port);
  const pids = (await workersOf(sluice.adminUrl)).map(({ pid }) => pid);
  const filesBefore = pids.map(openFiles);
  let started = 0;
  const received: string[] = [];
  const loop = async () => {
    while (started++ < CLIENTS) received.push(await attack(port));
  };
  await Promise.all(Array.from({ length: CONCURRENT }, loop));

  for (const name of [
    'sluice_requests_in_flight',
    'sluice_backend_in_flight',
    'sluice_connections_open',
    'sluice_tunnels_open',
  ] as const) {
    await waitFor(`${name} to be 0`, async () => (await metricOf(sluice.adminUrl, name)) === 0, {
      timeoutMs: 15_000,
    });
  }
  assert.deepEqual(
    (await workersOf(sluice.adminUrl)).map(({ pid }) => pid),
    pids,
  );
  // Closing the backends also closes the connections that Sluice has parked.
  await Promise.all(backends.map((backend) => backend.close()));
  await waitFor('file descriptors as before', () =>
    pids.every((pid, i) => openFiles(pid) <= (filesBefore[i] ?? 0)),
  );
  const logged = () => sluice.jsonLines((line) => 'bytesOut' in line);
  const counted = await metricOf(sluice.adminUrl, 'sluice_requests_total');
  await waitFor(`${counted} access lines`, () => logged().length >= (counted ?? 0));
  const tunnels = await metricOf(sluice.adminUrl, 'sluice_requests_total', { code: '101' });
  assert.ok((tunnels ?? 0) > 10, `${tunnels} tunnels were opened`);
  const ids = new Set(logged().map(({ requestId }) => requestId));
  assert.equal(logged().length, counted);
  assert.equal(ids.size, counted, 'a request has two lines');
  for (const [, id] of received.join('').matchAll(/\r\nX-Request-Id: (\S+)\r\n/g)) assert.ok(ids.has(id));
  const errors = sluice.jsonLines((line) => !('bytesOut' in line) && Number(line.level) >= 50);
  assert.deepEqual(errors, []);
  assert.deepEqual(sluice.stderr, []);
});
