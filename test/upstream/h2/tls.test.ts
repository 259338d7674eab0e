import assert from 'node:assert/strict';
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:https';
import { test } from 'node:test';
import { BackendTls } from '../../../src/infra/wire/backend-tls.ts';
import { Authority } from '../../support/certificates.ts';
import { waitFor } from '../../support/wait.ts';
import { ask, listen, makeH2Pool } from '../support.ts';

const authority = new Authority();
const { cert, key } = authority.issue(['backend.example']);

/** h2Tls is how a pool of HTTP/2 connects: it trusts the authority of the tests. */
function h2Tls(host = 'backend.example'): BackendTls {
  const ca = { path: 'ca.pem', pem: authority.root.cert };
  const settings = { ca, cert: null, key: null, serverName: host, verify: true };
  return new BackendTls('127.0.0.1', settings, { protocol: 'h2' });
}

test('over TLS a backend chooses HTTP/2 by ALPN, and is asked for the scheme https', async (t) => {
  const schemes: unknown[] = [];
  const server = createSecureServer({ cert, key });
  server.on('stream', (stream: ServerHttp2Stream, fields) => {
    schemes.push(fields[':scheme']);
    stream.respond({ ':status': 200 });
    stream.end('ok');
  });
  const pool = makeH2Pool(t, { port: await listen(t, server), tls: h2Tls() });
  const sinks = await Promise.all([ask(pool), ask(pool)]);
  for (const sink of sinks) assert.equal(sink.body.toString(), 'ok', sink.error?.message ?? '');
  assert.deepEqual(schemes, ['https', 'https']);
  assert.equal(pool.openCount, 1);
  pool.close();
  await waitFor('the connection to close', () => pool.openCount === 0);
});

test('a backend that does not choose HTTP/2 never gets a request', async (t) => {
  let requests = 0;
  const count = (): void => void requests++;
  const withAlpn = createServer({ cert, key, ALPNProtocols: ['http/1.1'] }, count);
  const withoutAlpn = createServer({ cert, key, ALPNProtocols: [] }, count);
  for (const server of [withAlpn, withoutAlpn]) {
    const sink = await ask(makeH2Pool(t, { port: await listen(t, server), tls: h2Tls() }));
    assert.equal(sink.error?.code, 'connect_failed');
    assert.equal(sink.error?.retryable, true);
    assert.match(sink.error?.message ?? '', /ALPN|no application protocol/);
  }
  assert.equal(requests, 0);
});

test('a certificate for another name is refused before a request leaves', async (t) => {
  const server = createSecureServer({ cert, key });
  server.on('stream', () => assert.fail('a request'));
  const sink = await ask(makeH2Pool(t, { port: await listen(t, server), tls: h2Tls('other.example') }));
  assert.equal(sink.error?.code, 'connect_failed');
  assert.match(sink.error?.message ?? '', /not for other\.example/);
});
