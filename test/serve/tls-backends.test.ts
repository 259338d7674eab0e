/** The whole product in front of backends with TLS: the example of the documentation, reloads, the log. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { parse } from 'yaml';
import { listen } from '../../test_backs/server.ts';
import { ask, askJson } from '../cluster/support.ts';
import { Authority, type Certificate } from '../support/certificates.ts';
import { docExample } from '../support/doc-example.ts';
import { completeConfig, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const authority = new Authority();

async function startSecure(t: TestContext, certificate: Certificate, port = 0) {
  const options = { ...certificate, ca: authority.root.cert, requestCert: true, rejectUnauthorized: true };
  const server = createServer(options, (request, response) => {
    response.end((request.socket as TLSSocket).getPeerCertificate().subject.CN);
  });
  const backend = await listen(server, { port, host: 'localhost' });
  t.after(() => backend.close());
  return backend;
}

/** The example, with the backend of the test in the place of its host and files in the place of /etc/sluice. */
function exampleWith(folder: string, port: number): Record<string, unknown> {
  const text = docExample('tls.md', 'TLS to backends');
  assert.match(text, /https:\/\/app\.internal:8443/);
  return parse(text.replaceAll('app.internal:8443', `localhost:${port}`).replaceAll('/etc/sluice', folder));
}

test('the example in docs/tls.md works; a reload takes new files, and one with a bad file changes nothing', async (t) => {
  const folder = tempFolder(t);
  const put = (name: string, text: string) => writeFileSync(join(folder, name), text, { mode: 0o600 });
  const own = authority.issue(['sluice']);
  put('internal-ca.pem', authority.root.cert);
  put('sluice.pem', own.cert);
  put('sluice.key', own.key);
  const backend = await startSecure(t, authority.issue(['localhost']));
  const config = { ...exampleWith(folder, backend.port), workers: 2 };
  const sluice = await startSluice({ config: completeConfig(config) });
  t.after(() => sluice.stop());
  const answer = async () => {
    const { status, text } = await ask(sluice.proxyUrl);
    return status === 200 ? text : status;
  };
  assert.equal(await answer(), 'sluice');
  const pools = await askJson(`${sluice.adminUrl}/api/v1/pools`);
  assert.match(JSON.stringify(pools.body), /"url":"https:\/\/localhost:\d+","?.*"state":"up"/);
  assert.doesNotMatch(JSON.stringify((await askJson(`${sluice.adminUrl}/api/v1/config`)).body), /BEGIN/);

  const metrics = (await ask(`${sluice.adminUrl}/metrics`)).text;
  assert.match(metrics, /^sluice_pool_certificate_expiry_seconds\{pool="app"\} \d+/m);

  const reload = () => askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  put('sluice.pem', 'nothing');
  const refused = await reload();
  assert.equal(refused.status, 422);
  assert.match(JSON.stringify(refused.body), /pools\.app\.tls\.cert.*holds no certificate.*sluice\.pem/);
  assert.equal(await answer(), 'sluice');

  const next = authority.issue(['sluice-2']);
  put('sluice.pem', next.cert);
  put('sluice.key', next.key);
  assert.equal((await reload()).status, 200);
  assert.equal(await answer(), 'sluice-2');
});

test('a certificate for another name takes the backend down; state, log and answer say so, the log once per second', async (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'internal-ca.pem'), authority.root.cert);
  const { port } = await startSecure(t, authority.issue(['other.internal']));
  const backends = [{ url: `https://localhost:${port}` }];
  const tls = { ca: join(folder, 'internal-ca.pem') };
  const sluice = await startSluice({ config: { pools: { app: { backends, tls } } } });
  t.after(() => sluice.stop());
  for (let i = 0; i < 20; i++) assert.equal((await ask(sluice.proxyUrl)).status, 502);
  const detail = 'connect failed: TLS: the certificate is not for localhost (ERR_TLS_CERT_ALTNAME_INVALID)';
  const lines = await waitFor('the log line', () => {
    const found = sluice.jsonLines((line) => line.msg === 'a connection to a backend failed');
    return found.length > 0 && found;
  });
  assert.deepEqual([lines[0]?.pool, lines[0]?.detail], ['app', detail]);
  assert.ok(lines.length < 10, `${lines.length} lines`);
  const healthCheck = { type: 'tcp', interval: '100ms', timeout: '100ms' };
  sluice.configure({ pools: { app: { backends, tls, healthCheck } } });
  await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  await waitFor('the backend to be down', async () => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
    return /"state":"down","reason":"[^"]*TLS: the certificate is not for localhost/.test(
      JSON.stringify(body),
    );
  });
});
