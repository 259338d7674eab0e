/** Certificates of clients, and what backends are told of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Authority } from '../../support/certificates.ts';
import { ask, localTls, secureClient, secureSocket, tlsMaterial } from '../../support/tls.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const clients = new Authority('clients');
const strangers = new Authority('strangers');
const alice = clients.issue(['alice'], { subject: '/C=US/O=Example, Inc./CN=alice é' });
const mallory = strangers.issue(['mallory'], { subject: '/CN=alice' });
const FIELD = 'x-client-cert-subject';
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

async function start(t: Parameters<typeof startProxy>[0], clientAuth: 'optional' | 'require') {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const { tls } = localTls({ clientAuth, clientCa: clients.root.cert });
  const proxy = await startProxy(t, { backends: [backend], tls, http2: false });
  return { backend, proxy };
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`the subject of a client's verified certificate goes to the backend (${maxVersion})`, async (t) => {
    const { backend, proxy } = await start(t, 'require');
    const { cert, key } = alice;
    const client = await secureClient({ port: proxy.port, cert, key, maxVersion });
    t.after(() => client.close());
    client.write('GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=root\r\n\r\n');
    assert.equal((await client.readResponse()).status, 200);
    const [subject = '', ...more] = backend.requests[0]?.all(FIELD) ?? [];
    assert.match(subject, /^CN=alice (\\[0-9A-F]{2})+,O=Example\\, Inc\.,C=US$/);
    assert.deepEqual(more, []);
  });

  test(`with require, a client without a certificate or with one of a stranger is refused (${maxVersion})`, async (t) => {
    const { backend, proxy } = await start(t, 'require');
    for (const own of [{}, { cert: mallory.cert, key: mallory.key }]) {
      const refused = secureSocket({ port: proxy.port, maxVersion, ...own }).then(async (socket) => {
        socket.on('error', () => socket.destroy());
        socket.write(GET);
        socket.resume();
        await waitFor('the end', () => socket.readableEnded || socket.destroyed);
        socket.destroy();
      });
      await refused.catch(() => undefined);
    }
    assert.equal(backend.requests.length, 0);
    const counts = () =>
      ['ok', 'failed', 'aborted'].map((result) => proxy.metric('sluice_tls_handshakes_total', result));
    // node does not say why it closes the connection of the second.
    await waitFor('the count of both', () => counts().join() === '0,1,1');
    await waitFor('no connection', () => proxy.server.connectionCount === 0);
  });

  test(`a session is resumed while its certificate is valid, and not after that (${maxVersion})`, async (t) => {
    const { backend, proxy } = await start(t, 'require');
    const endMs = Date.now() + 86_400_000;
    const { cert, key } = clients.issue(['brief'], { notAfter: new Date(endMs) });
    const { session } = await ask({ port: proxy.port, cert, key, maxVersion });
    const again = await ask({ port: proxy.port, maxVersion, session });
    assert.deepEqual([again.answer, again.resumed], ['HTTP/1.1 200 OK x', true]);
    assert.equal(backend.requests[1]?.header(FIELD), 'CN=brief');
    t.mock.method(Date, 'now', () => endMs + 1_000);
    const late = await ask({ port: proxy.port, maxVersion, session });
    assert.equal(late.answer, '');
    assert.equal(backend.requests.length, 2);
    await waitFor('the failure', () => proxy.metric('sluice_tls_handshakes_total', 'failed') === 1);
  });

  test(`a session is not resumed where other certificates are asked for, or in another way (${maxVersion})`, async (t) => {
    const { proxy } = await start(t, 'optional');
    const { cert, key } = alice;
    const clientCa = clients.root.cert;
    const at = (more: Parameters<typeof localTls>[0]) => proxy.server.useTls(tlsMaterial(localTls(more).tls));
    const get = async (session?: Buffer) =>
      ask({ port: proxy.port, maxVersion, ...(session !== undefined && { session }) });
    const known = await ask({ port: proxy.port, cert, key, maxVersion });
    const unknown = await get();
    assert.deepEqual([known.answer, unknown.answer], ['HTTP/1.1 200 OK x', 'HTTP/1.1 200 OK x']);
    // Every other terminator has the same ticket keys.
    at({ clientAuth: 'optional', clientCa: strangers.root.cert });
    for (const { session } of [known, unknown]) assert.equal((await get(session)).resumed, false);
    at({ clientAuth: 'require', clientCa });
    for (const { session } of [known, unknown]) assert.equal((await get(session)).answer, '');
    at({});
    for (const { session } of [known, unknown]) assert.equal((await get(session)).resumed, false);
    at({ clientAuth: 'optional', clientCa });
    for (const { session } of [known, unknown]) assert.equal((await get(session)).resumed, true);
  });
}

test('with optional, a client without a certificate is served, and one with an invalid certificate is not', async (t) => {
  const { backend, proxy } = await start(t, 'optional');
  const client = await secureClient({ port: proxy.port });
  t.after(() => client.close());
  client.write('GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=root\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.deepEqual(backend.requests[0]?.all(FIELD), []);
  const { cert, key } = mallory;
  const stranger = await secureSocket({ port: proxy.port, cert, key }).catch(() => null);
  if (stranger !== null) {
    stranger.on('error', () => stranger.destroy());
    stranger.resume();
    await waitFor('the end', () => stranger.readableEnded || stranger.destroyed);
    stranger.destroy();
  }
  await waitFor('the failure', () => proxy.metric('sluice_tls_handshakes_total', 'failed') === 1);
});

test('clients cannot set the subject without TLS, from a trusted address, by Connection or in a trailer', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const proxy = await startProxy(t, { backends: [backend], trustedProxies: ['127.0.0.0/8'] });
  const client = await proxy.connect();
  const head =
    'POST / HTTP/1.1\r\nHost: a\r\nx-client-cert-SUBJECT: CN=root\r\nX_Client_Cert_Subject: CN=root\r\n';
  client.write(
    `${head}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Client-Cert-Subject: CN=root\r\nX-Other: 1\r\n\r\n`,
  );
  assert.equal((await client.readResponse()).status, 200);
  assert.doesNotMatch(backend.received.join(''), /CN=root/);
});

test('a Connection token does not remove the subject', async (t) => {
  const { backend, proxy } = await start(t, 'require');
  const client = await secureClient({ port: proxy.port, cert: alice.cert, key: alice.key });
  t.after(() => client.close());
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Client-Cert-Subject\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(backend.requests[0]?.all(FIELD).length, 1);
});

test('a certificate without a subject is verified, and the backend gets no field', async (t) => {
  const { backend, proxy } = await start(t, 'require');
  const { cert, key } = clients.issue(['spiffe://example/workload'], { subject: '/' });
  const client = await secureClient({ port: proxy.port, cert, key });
  t.after(() => client.close());
  client.write('GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=root\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.deepEqual(backend.requests[0]?.all(FIELD), []);
});
