import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { HealthCheckSettings } from '../../../src/contract/pool-settings.ts';
import { runProbe } from '../../../src/primary/health/probe.ts';
import { probeTarget } from '../../../src/primary/health/probe-target.ts';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { block } from '../../support/block.ts';
import { healthCheckSettings } from '../../support/settings.ts';
import { waitFor, within } from '../../support/wait.ts';

const PLAIN = { tls: null, protocol: 'http1', proxyProtocol: 'off' } as const;
const CHECK = healthCheckSettings({ path: '/health?deep=1', timeoutMs: 2_000 });

function probe(
  port: number,
  check: Partial<HealthCheckSettings> = {},
  signal = new AbortController().signal,
) {
  const target = probeTarget({ host: '127.0.0.1', port }, { ...CHECK, ...check }, PLAIN);
  return within(runProbe(target, signal), 10_000, 'the probe ends');
}

/** A raw backend that answers each connection with `answer` and counts its open sockets. */
async function startRaw(t: TestContext, answer: (socket: Socket) => void) {
  const open = new Set<Socket>();
  const backend = await startRawBackend((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('end', () => socket.end());
    answer(socket);
    socket.resume();
  });
  t.after(() => backend.close());
  return { port: backend.port, open };
}

async function refusedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise<void>((resolve) => void server.close(() => resolve()));
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

test('an HTTP probe is a GET of the path with its own User-Agent and the backend as Host, on a connection that is closed', async (t) => {
  const seen: string[] = [];
  const { port, open } = await startRaw(t, (socket) => {
    socket.once('data', (chunk) => {
      seen.push(chunk.toString('latin1'));
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello');
    });
  });
  assert.deepEqual(await probe(port), { ok: true, detail: 'status 200' });
  const head = seen.join('');
  assert.match(head, /^GET \/health\?deep=1 HTTP\/1\.1\r\n/);
  assert.match(head, new RegExp(`\r\nHost: 127\\.0\\.0\\.1:${port}\r\n`));
  assert.match(head, /\r\nUser-Agent: sluice-health\/\d+\.\d+\.\d+/);
  assert.match(head, /\r\nConnection: close\r\n/i);
  await waitFor('the connection is closed', () => open.size === 0);
});

test('the status decides; the range includes both ends', async (t) => {
  let status = 200;
  const backend = await startBackend((_, response) => response.writeHead(status).end('x'));
  t.after(() => backend.close());
  for (const [answered, ok] of [
    [199 + 1, true],
    [399, true],
    [400, false],
    [503, false],
    [302, true],
  ] as const) {
    status = answered;
    assert.deepEqual(await probe(backend.port), { ok, detail: `status ${answered}` });
  }
  const expectStatus = { from: 418, to: 418 };
  status = 418;
  assert.equal((await probe(backend.port, { expectStatus })).ok, true);
  status = 200;
  assert.equal((await probe(backend.port, { expectStatus })).ok, false);
});

test('names are resolved at the connect', async (t) => {
  const backend = await startBackend((_, response) => response.end());
  t.after(() => backend.close());
  const signal = new AbortController().signal;
  const named = probeTarget({ host: 'localhost', port: backend.port }, CHECK, PLAIN);
  assert.deepEqual(await runProbe(named, signal), { ok: true, detail: 'status 200' });
});

test('a backend that accepts and never answers is a timeout, and its socket is closed', async (t) => {
  const { port, open } = await startRaw(t, () => undefined);
  assert.deepEqual(await probe(port, { timeoutMs: 100 }), { ok: false, detail: 'timeout' });
  await waitFor('the connection is closed', () => open.size === 0);
});

test('a refused connection, a cut or an invalid answer fails with its cause', async (t) => {
  assert.deepEqual(await probe(await refusedPort()), { ok: false, detail: 'ECONNREFUSED' });
  assert.deepEqual(await probe(await refusedPort(), { type: 'tcp' }), { ok: false, detail: 'ECONNREFUSED' });
  const closing = await startRaw(t, (socket) => socket.once('data', () => socket.end()));
  assert.deepEqual(await probe(closing.port), { ok: false, detail: 'ECONNRESET' });
  const babbling = await startRaw(t, (socket) => socket.once('data', () => socket.end('220 smtp ready\r\n')));
  assert.match((await probe(babbling.port)).detail, /^HPE_/);
  const endless = await startRaw(t, (socket) =>
    socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(64 * 1024)}`)),
  );
  assert.deepEqual(await probe(endless.port), { ok: false, detail: 'HPE_HEADER_OVERFLOW' });
  assert.match((await probe(closing.port, { path: '/a b' })).detail, /ERR_UNESCAPED_CHARACTERS/);
});

test('an endless body is cut off without changing the verdict', async (t) => {
  let sentBytes = 0;
  const { port, open } = await startRaw(t, (socket) => {
    const piece = Buffer.alloc(16 * 1024, 'x');
    const pump = () => {
      while (!socket.destroyed && socket.write(piece)) sentBytes += piece.length;
    };
    socket.on('drain', pump);
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n');
      pump();
    });
  });
  assert.deepEqual(await probe(port, { timeoutMs: 60_000 }), { ok: true, detail: 'status 200' });
  await waitFor('the connection is closed long before the time limit', () => open.size === 0);
  assert.ok(sentBytes < 32 * 1024 * 1024, `${sentBytes} bytes`);
});

test('a hanging body keeps the socket no longer than the timeout', async (t) => {
  const { port, open } = await startRaw(t, (socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 204 No\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n'));
  });
  assert.deepEqual(await probe(port, { timeoutMs: 200 }), { ok: true, detail: 'status 204' });
  const hanging = await startRaw(t, (socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'));
  });
  assert.deepEqual(await probe(hanging.port, { timeoutMs: 200 }), { ok: true, detail: 'status 200' });
  await waitFor('both connections are closed', () => open.size + hanging.open.size === 0);
});

test('a TCP probe passes when the connection opens, and closes it', async (t) => {
  let receivedBytes = 0;
  const { port, open } = await startRaw(t, (socket) => {
    socket.on('data', (chunk) => {
      receivedBytes += chunk.length;
    });
  });
  assert.deepEqual(await probe(port, { type: 'tcp' }), { ok: true, detail: 'connected' });
  await waitFor('the connection is closed', () => open.size === 0);
  assert.equal(receivedBytes, 0);
});

test('an aborted probe ends at once and closes its connection', async (t) => {
  const { port, open } = await startRaw(t, () => undefined);
  const stopping = new AbortController();
  const outcome = probe(port, { timeoutMs: 60_000 }, stopping.signal);
  await waitFor('the backend has the connection', () => open.size === 1);
  stopping.abort();
  assert.deepEqual(await outcome, { ok: false, detail: 'aborted' });
  await waitFor('the connection is closed', () => open.size === 0);
  assert.deepEqual(await probe(port, {}, AbortSignal.abort()), { ok: false, detail: 'aborted' });
});

test('a name that never resolved gives no result for the backend', async () => {
  // RFC 6761: no name below this one exists.
  const target = probeTarget({ host: 'nobody.invalid', port: 80 }, CHECK, PLAIN);
  const outcome = await runProbe(target, new AbortController().signal);
  assert.equal(outcome.ok, false);
  assert.equal(outcome.inconclusive, true);
  assert.match(outcome.resolverError ?? '', /^(ENOTFOUND|EAI_AGAIN|timeout)$/);
  assert.equal(outcome.detail, `name not resolved: ${outcome.resolverError}`);
});

test('a stall of this process fails no probe', async (t) => {
  const { port } = await startRaw(t, (socket) => {
    socket.once('data', () => {
      setTimeout(() => socket.write('HTTP/1.1 204 No\r\nX: y\r\n\r\n'), 50);
    });
  });
  const outcome = probe(port, { timeoutMs: 200 });
  // Twice the timeout, before the connection is open.
  block(400);
  assert.deepEqual(await outcome, { ok: true, detail: 'status 204' });
});
