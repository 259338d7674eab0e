/** Probes of backends with TLS. */
import assert from 'node:assert/strict';
import { createServer as createHttpsServer } from 'node:https';
import { type TestContext, test } from 'node:test';
import type { HealthCheckSettings, PoolTlsSettings } from '../../../src/contract/pool-settings.ts';
import { runProbe } from '../../../src/primary/health/probe.ts';
import { probeTarget } from '../../../src/primary/health/probe-target.ts';
import { listen } from '../../../test_backs/server.ts';
import { startRawBackend } from '../../support/backend.ts';
import { Authority } from '../../support/certificates.ts';
import { backendTlsSettings, healthCheckSettings } from '../../support/settings.ts';
import { waitFor, within } from '../../support/wait.ts';

const authority = new Authority();
const ca = authority.root;
const good = authority.issue(['127.0.0.1', 'app.internal']);

function probe(port: number, tls: PoolTlsSettings, check: Partial<HealthCheckSettings> = {}) {
  const target = probeTarget(
    { host: '127.0.0.1', port },
    healthCheckSettings({ timeoutMs: 2_000, ...check }),
    { tls, protocol: 'http1', proxyProtocol: 'off' },
  );
  const once = () => within(runProbe(target, new AbortController().signal), 10_000, 'the probe ends');
  return { once };
}

async function startHttps(t: TestContext) {
  const seen: { host: string | undefined; isResumed: boolean; servername: unknown }[] = [];
  const server = createHttpsServer(good, (request, response) => {
    const socket = request.socket as typeof request.socket & {
      isSessionReused(): boolean;
      servername: unknown;
    };
    seen.push({
      host: request.headers.host,
      isResumed: socket.isSessionReused(),
      servername: socket.servername,
    });
    response.end('fine');
  });
  const backend = await listen(server, { port: 0 });
  t.after(() => backend.close());
  return { port: backend.port, seen };
}

test('probes of both types go over verified TLS, with a whole handshake each', async (t) => {
  const { port, seen } = await startHttps(t);
  const tls = backendTlsSettings({ ca, serverName: 'app.internal' });
  const http = probe(port, tls);
  for (let i = 0; i < 3; i++) assert.deepEqual(await http.once(), { ok: true, detail: 'status 200' });
  const expected = { host: `127.0.0.1:${port}`, isResumed: false, servername: 'app.internal' };
  assert.deepEqual(seen, [expected, expected, expected]);
  assert.deepEqual(await probe(port, tls, { type: 'tcp' }).once(), { ok: true, detail: 'connected' });
  assert.equal(seen.length, 3);
});

test('a certificate that is not accepted fails probes of both types, and the detail says why', async (t) => {
  const { port } = await startHttps(t);
  for (const type of ['http', 'tcp'] as const) {
    const other = probe(port, backendTlsSettings({ ca, serverName: 'other.internal' }), { type });
    assert.deepEqual(await other.once(), {
      ok: false,
      detail: 'TLS: the certificate is not for other.internal (ERR_TLS_CERT_ALTNAME_INVALID)',
    });
    const untrusted = await probe(port, backendTlsSettings(), { type }).once();
    assert.match(untrusted.detail, /^TLS: the authority that signed the certificate is not trusted/);
    assert.equal((await probe(port, backendTlsSettings({ verify: false }), { type }).once()).ok, true);
  }
});

test('a backend that never answers the handshake is a timeout, and its connection is closed', async (t) => {
  let open = 0;
  const backend = await startRawBackend((socket) => {
    open++;
    socket.on('close', () => open--);
    socket.resume();
    socket.on('end', () => socket.end());
  });
  t.after(() => backend.close());
  for (const type of ['http', 'tcp'] as const) {
    const silent = probe(backend.port, backendTlsSettings({ ca }), { type, timeoutMs: 100 });
    assert.deepEqual(await silent.once(), { ok: false, detail: 'timeout' });
    await waitFor('the connection is closed', () => open === 0);
  }
});
