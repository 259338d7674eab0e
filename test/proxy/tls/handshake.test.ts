/** B40: TLS of clients, from the first byte to the protocol. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../../../src/infra/logging/logger.ts';
import { Authority } from '../../support/certificates.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import { connectRaw } from '../../support/raw-http.ts';
import { localTls, secureClient, secureSocket, tlsAddress, tlsMaterial } from '../../support/tls.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy, startUnixProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
const RESULTS = 'sluice_tls_handshakes_total';

/** nameAt is the common name of the certificate that a client gets who asks for a name. */
async function nameAt({ port }: { port: number }, servername: string): Promise<unknown> {
  const socket = await secureSocket({ port, servername });
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return subject.CN;
}

test('B40: a request over TLS reaches the backend, which is told https', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const { ca, tls } = localTls();
  const proxy = await startProxy(t, { backends: [backend], tls });
  const client = await secureClient({
    port: proxy.port,
    ca,
    servername: 'localhost',
    rejectUnauthorized: true,
  });
  t.after(() => client.close());
  for (let i = 0; i < 3; i++) {
    client.write(GET);
    const response = await client.readResponse();
    assert.deepEqual([response.status, String(response.body)], [200, 'x']);
  }
  assert.equal(backend.requests[0]?.header('x-forwarded-proto'), 'https');
  assert.equal(proxy.metric(RESULTS, 'ok', 'TLSv1.3', 'false'), 1);
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`B40: ${version} is spoken`, async (t) => {
    const { tls } = localTls();
    const proxy = await startProxy(t, { backends: [], tls });
    const socket = await secureSocket({ port: proxy.port, minVersion: version, maxVersion: version });
    t.after(() => socket.destroy());
    assert.equal(socket.getProtocol(), version);
    await waitFor('the count', () => proxy.metric(RESULTS, 'ok', version) === 1);
  });
}

test('B40: versions before TLS 1.2, or before minVersion, are refused', async (t) => {
  const { tls } = localTls();
  const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  const proxy = await startProxy(t, { backends: [], tls });
  await assert.rejects(secureSocket({ port: proxy.port, ...old }), { code: /VERSION/ });
  const modern = await startProxy(t, { backends: [], tls: { ...tls, minVersion: 'TLSv1.3' } });
  await assert.rejects(secureSocket({ port: modern.port, maxVersion: 'TLSv1.2' }), { code: /VERSION/ });
  assert.equal(modern.metric(RESULTS, 'failed'), 1);
});

test('B40: the certificate is that of the name asked for: exact, then one label of a wildcard, else the first', async (t) => {
  const authority = new Authority();
  const names = [['first.test'], ['b.test', '*.b.test'], ['www.b.test']];
  const issued = names.map((each): [string[], ReturnType<Authority['issue']>] => [
    each,
    authority.issue(each),
  ]);
  const proxy = await startProxy(t, { backends: [], tls: tlsAddress(issued) });
  const wanted = {
    'b.test': 'b.test',
    'B.TEST': 'b.test',
    'x.b.test': 'b.test',
    'www.b.test': 'www.b.test',
    'x.y.b.test': 'first.test',
    'unknown.test': 'first.test',
    '': 'first.test',
  };
  for (const [asked, got] of Object.entries(wanted)) assert.equal(await nameAt(proxy, asked), got, asked);
});

test('B40: a certificate that OpenSSL refuses is left out and logged by its names; the others, and later changes, come into force', async (t) => {
  const authority = new Authority();
  const weak = authority.issue(['weak.test'], { rsaBits: 1_024 });
  const [good, next] = [authority.issue(['good.test']), authority.issue(['next.test'])];
  const lines: unknown[] = [];
  const logger = {
    info: () => undefined,
    error: (facts: { names: string[]; err: Error }, text: string) =>
      lines.push([facts.names, facts.err.message.includes('ee key too small'), text]),
  } as unknown as Logger;
  const tls = tlsAddress([
    [['weak.test'], weak],
    [['good.test'], good],
  ]);
  const proxy = await startProxy(t, { backends: [], tls, logger });
  assert.deepEqual(lines, [[['weak.test'], true, 'a certificate cannot be used, and is left out']]);
  assert.deepEqual(
    [await nameAt(proxy, 'good.test'), await nameAt(proxy, 'weak.test')],
    ['good.test', 'good.test'],
  );
  const changed = tlsAddress([
    [['good.test'], good],
    [['weak.test'], weak],
    [['next.test'], next],
  ]);
  proxy.server.useTls(tlsMaterial(changed));
  assert.deepEqual(
    [await nameAt(proxy, 'good.test'), await nameAt(proxy, 'next.test')],
    ['good.test', 'next.test'],
  );
});

test('B40: without a certificate that can be used, handshakes fail, and the log says so', async (t) => {
  const weak = new Authority().issue(['weak.test'], { rsaBits: 1_024 });
  for (const certificates of [[], [[['weak.test'], weak]]] as Parameters<typeof tlsAddress>[0][]) {
    const kinds: string[] = [];
    const logger = {
      info: ({ kind }: { kind: string }) => kinds.push(kind),
      error: () => undefined,
    } as unknown as Logger;
    const proxy = await startProxy(t, { backends: [], tls: tlsAddress(certificates), logger });
    await assert.rejects(secureSocket({ port: proxy.port }), { code: /ALERT_HANDSHAKE_FAILURE/ });
    assert.deepEqual(kinds, ['no_certificate']);
  }
});

test('B40: a name of no certificate can be refused', async (t) => {
  const { tls } = localTls({ unknownNames: 'refuse' });
  const proxy = await startProxy(t, { backends: [], tls });
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const)
    await assert.rejects(secureSocket({ port: proxy.port, servername: 'other.test', maxVersion }), {
      code: /UNRECOGNIZED_NAME/,
    });
  await waitFor('the refusals', () => proxy.metric(RESULTS, 'failed') === 2);
  // A client that names none asks for nothing unknown.
  for (const servername of ['localhost', '']) {
    const socket = await secureSocket({ port: proxy.port, servername });
    socket.destroy();
  }
});

test('no common protocol in ALPN is refused, and a client without ALPN speaks HTTP/1.1', async (t) => {
  const { tls } = localTls();
  const proxy = await startProxy(t, { backends: [], tls });
  await assert.rejects(secureSocket({ port: proxy.port, ALPNProtocols: ['spdy/3'] }), {
    code: 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL',
  });
  const socket = await secureSocket({ port: proxy.port, ALPNProtocols: ['spdy/3', 'http/1.1'] });
  t.after(() => socket.destroy());
  assert.equal(socket.alpnProtocol, 'http/1.1');
});

test('plain HTTP on a port with TLS gets a page with 400, then the connection closes', async (t) => {
  const { tls } = localTls();
  const proxy = await startProxy(t, { backends: [], tls });
  const client = await proxy.connect();
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n${'x'.repeat(300_000)}`);
  const response = await client.readResponse();
  assert.equal(response.status, 400);
  assert.match(String(response.body), /problems\/plain_http/);
  await waitFor('the end', () => client.ended);
  client.close();
  assert.equal(proxy.metric(RESULTS, 'plaintext'), 1);
  await waitFor('the access line', () => proxy.lines.some(({ reason }) => reason === 'plain_http'));
  await waitFor('no connection', () => proxy.server.connectionCount === 0);
});

test('bytes that look like TLS and are not end the connection', async (t) => {
  const { tls } = localTls();
  const proxy = await startProxy(t, { backends: [], tls });
  for (const garbage of [
    '\x16garbage garbage',
    '\x80garbage garbage',
    `\x16\x03\x01\x00\x05${'\x00'.repeat(50)}`,
  ]) {
    const client = await proxy.connect();
    client.write(garbage);
    await waitFor('the end', () => client.ended || client.closed);
    client.close();
  }
  await waitFor('the failures', () => proxy.metric(RESULTS, 'failed') === 3);
  await waitFor('no connection', () => proxy.server.connectionCount === 0);
});

test('clients that leave in the middle of a handshake, or before it, leave nothing behind', async (t) => {
  const { tls } = localTls();
  const proxy = await startProxy(t, { backends: [], tls });
  for (const begun of ['', '\x16', '\x16\x03\x01\x02\x00\x01']) {
    const gone = await proxy.connect();
    gone.write(begun);
    await waitFor('the connection', () => proxy.server.connectionCount === 1);
    gone.reset();
    await waitFor('no connection', () => proxy.server.connectionCount === 0);
  }
  const silent = await proxy.connect();
  await waitFor('the connection', () => proxy.server.connectionCount === 1);
  silent.end();
  await waitFor('the end', () => silent.ended);
  await waitFor('no connection', () => proxy.server.connectionCount === 0);
});

test('connections count from their accept on, also against the cap per address', async (t) => {
  const { tls } = localTls();
  const proxy = await startProxy(t, { backends: [], tls, limits: { connectionsPerIp: 2 } });
  const silent = await proxy.connect();
  const half = await proxy.connect();
  half.write('\x16\x03\x01\x02\x00\x01');
  await waitFor('two connections', () => proxy.server.connectionCount === 2);
  const shed = await proxy.connect();
  await waitFor('the end of the third', () => shed.ended || shed.closed);
  assert.equal(proxy.metric('sluice_shed_total', 'connections_per_ip'), 1);
  silent.close();
  half.close();
  await waitFor('no connection', () => proxy.server.connectionCount === 0);
  const first = await secureSocket({ port: proxy.port });
  const second = await secureSocket({ port: proxy.port });
  await assert.rejects(secureSocket({ port: proxy.port }));
  first.destroy();
  second.destroy();
});

test('TLS is served at a Unix socket, too', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const { path } = await startUnixProxy(t, { backends: [backend], tls: localTls().tls });
  const raw = await connectRaw({ path });
  const socket = await secureSocket({ socket: raw.socket });
  t.after(() => socket.destroy());
  socket.write(GET);
  const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
  assert.match(String(answer), /^HTTP\/1.1 200 /);
});

test('a client that chooses HTTP/2 by ALPN gets it', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const proxy = await startProxy(t, { backends: [backend], tls: localTls().tls });
  const session = connectH2(t, proxy.url.replace('http:', 'https:'), { rejectUnauthorized: false });
  assert.equal((await requestH2(session, { ':path': '/two' })).status, 200);
  assert.equal(backend.requests[0]?.header('x-forwarded-proto'), 'https');
  await waitFor('the access line', () => proxy.lines.some(({ protocol }) => protocol === 'h2'));
});
