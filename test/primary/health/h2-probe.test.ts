/** Probes over HTTP/2. */
import assert from 'node:assert/strict';
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import type { HealthCheckSettings, PoolTlsSettings } from '../../../src/contract/pool-settings.ts';
import { runProbe } from '../../../src/primary/health/probe.ts';
import { probeTarget } from '../../../src/primary/health/probe-target.ts';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { Authority } from '../../support/certificates.ts';
import { startH2Backend } from '../../support/h2-backends.ts';
import { CODES, frame, number32, settings, TYPES } from '../../support/h2-frames.ts';
import { backendTlsSettings, healthCheckSettings } from '../../support/settings.ts';
import { waitFor, within } from '../../support/wait.ts';

function probe(port: number, check: Partial<HealthCheckSettings>, tls: PoolTlsSettings | null = null) {
  const settings = healthCheckSettings({ timeoutMs: 2_000, ...check });
  const target = probeTarget({ host: '127.0.0.1', port }, settings, {
    tls,
    protocol: 'h2',
    proxyProtocol: 'off',
  });
  return within(runProbe(target, new AbortController().signal), 10_000, 'the probe ends');
}

/** A health service that knows these services. 1: SERVING. */
function startHealthService(t: TestContext, statuses: Record<string, number>) {
  return startH2Backend(t, (stream) => answerHealth(stream, statuses));
}

function answerHealth(stream: ServerHttp2Stream, statuses: Record<string, number>): void {
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.on('end', () => {
    const service = Buffer.concat(pieces).subarray(7).toString();
    const status = statuses[service];
    if (status === undefined) {
      stream.respond({ ':status': 200, 'grpc-status': '5' }, { endStream: true });
      return;
    }
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from(status === 0 ? [0, 0, 0, 0, 0] : [0, 0, 0, 0, 2, 8, status]));
  });
}

test('a gRPC probe asks the health service for a service, or for the server as a whole', async (t) => {
  const backend = await startHealthService(t, { '': 1, 'shop.Cart': 2, 'shop.Stock': 0, odd: 99 });
  const ask = (service: string) => probe(backend.port, { type: 'grpc', service });
  assert.deepEqual(await ask(''), { ok: true, detail: 'SERVING' });
  assert.deepEqual(await ask('shop.Cart'), { ok: false, detail: 'NOT_SERVING' });
  assert.deepEqual(await ask('shop.Stock'), { ok: false, detail: 'UNKNOWN' });
  assert.deepEqual(await ask('odd'), { ok: false, detail: 'answer not understood' });
  assert.deepEqual(await ask('other'), { ok: false, detail: 'grpc-status 5' });
  const fields = backend.requests[0] ?? [];
  for (const [name, value] of [
    [':path', '/grpc.health.v1.Health/Check'],
    [':authority', `127.0.0.1:${backend.port}`],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
  ]) {
    assert.equal(fields[fields.indexOf(name ?? '') + 1], value);
  }
  await waitFor('the connections to close', () => backend.sessions.every((session) => session.destroyed));
});

test('a backend without gRPC, one that says nothing and one that speaks HTTP/1.1 fail a gRPC probe', async (t) => {
  const plain = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 404 });
    stream.end('no');
  });
  assert.deepEqual(await probe(plain.port, { type: 'grpc' }), { ok: false, detail: 'status 404' });
  const silent = await startH2Backend(t, () => undefined);
  const slow = await probe(silent.port, { type: 'grpc', timeoutMs: 200 });
  assert.deepEqual(slow, { ok: false, detail: 'timeout' });
  const old = await startBackend((_request, response) => void response.end());
  t.after(() => old.close());
  assert.equal((await probe(old.port, { type: 'grpc' })).ok, false);
});

test('a probe says in words what it met in place of an answer over HTTP/2', async (t) => {
  const answers: [bytes: Buffer, detail: string][] = [
    [Buffer.from('220 smtp ready\r\n'), 'what answers does not speak HTTP/2 (Protocol error)'],
    [
      Buffer.concat([settings(), frame(TYPES.reset, 0, 1, number32(CODES.INTERNAL_ERROR))]),
      'the backend refused the request (INTERNAL_ERROR)',
    ],
    [
      Buffer.concat([settings(), frame(TYPES.reset, 0, 1, number32(CODES.CANCEL))]),
      'the backend ended the request (CANCEL)',
    ],
    [
      Buffer.concat([settings(), frame(TYPES.goaway, 0, 0, number32(0, 0))]),
      'the backend refused the request (REFUSED_STREAM)',
    ],
    [
      Buffer.concat([settings(), frame(TYPES.goaway, 0, 0, number32(0, CODES.ENHANCE_YOUR_CALM))]),
      'the backend closed the connection (code 11)',
    ],
  ];
  for (const [bytes, detail] of answers) {
    const backend = await startRawBackend((socket) => socket.once('data', () => socket.write(bytes)));
    t.after(() => backend.close());
    for (const type of ['http', 'grpc'] as const)
      assert.deepEqual(await probe(backend.port, { type }), { ok: false, detail });
  }
});

test('an HTTP probe in a pool of HTTP/2 is a GET of HTTP/2', async (t) => {
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    stream.respond({ ':status': path === '/health' ? 204 : 500 }, { endStream: true });
  });
  assert.deepEqual(await probe(backend.port, { path: '/health' }), { ok: true, detail: 'status 204' });
  assert.deepEqual(await probe(backend.port, { path: '/other' }), { ok: false, detail: 'status 500' });
});

test('probes over TLS want HTTP/2 by ALPN, and a valid certificate', async (t) => {
  const authority = new Authority();
  const server = createSecureServer({ ...authority.issue(['127.0.0.1']) });
  server.on('stream', (stream: ServerHttp2Stream) => answerHealth(stream, { '': 1 }));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const tls = backendTlsSettings({ ca: authority.root });
  assert.deepEqual(await probe(port, { type: 'grpc' }, tls), { ok: true, detail: 'SERVING' });
  const stranger = backendTlsSettings({ ca: new Authority().root });
  assert.match((await probe(port, { type: 'grpc' }, stranger)).detail, /^TLS: /);
});

test('over TLS a pool of HTTP/2 fails every kind of check where the backend does not choose it', async (t) => {
  const authority = new Authority();
  const server = createTlsServer({ ...authority.issue(['127.0.0.1']), ALPNProtocols: [] });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const tls = backendTlsSettings({ ca: authority.root });
  for (const type of ['tcp', 'http', 'grpc'] as const) {
    const outcome = await probe(port, { type }, tls);
    assert.deepEqual(
      [outcome.ok, /ALPN|no application protocol/.test(outcome.detail)],
      [false, true],
      outcome.detail,
    );
  }
});

test('host, method, fields and the expected text of a probe over HTTP/2', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('all is ');
    setImmediate(() => stream.end('well'));
  });
  const asked = {
    host: 'app.internal',
    method: 'OPTIONS',
    headers: { 'X-Key': 'k', Accept: 'text/plain' },
  } as const;
  const ask = (expectBody: string) => probe(backend.port, { ...asked, expectBody });
  assert.deepEqual(await ask('is well'), { ok: true, detail: 'status 200' });
  assert.deepEqual(await ask('ill'), { ok: false, detail: 'status 200, without the expected text' });
  const fields = backend.requests[0] ?? [];
  const pairs = Object.fromEntries(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]]] : [])));
  assert.equal(pairs[':authority'], 'app.internal');
  assert.equal(pairs[':method'], 'OPTIONS');
  assert.deepEqual([pairs['x-key'], pairs.accept], ['k', 'text/plain']);
});
