/** B40: TLS with clients in the whole product: certificate files, reloads, resumption over workers. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { startBackend } from '../support/backend.ts';
import { Authority, type Certificate } from '../support/certificates.ts';
import { runToEnd } from '../support/child.ts';
import { docExample } from '../support/doc-example.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { ask, secureClient, secureSocket } from '../support/tls.ts';
import { waitFor } from '../support/wait.ts';

const authority = new Authority();

async function startWithTls(
  t: TestContext,
  certificates: { cert: string; key: string }[],
  more: { workers?: number; tls?: object } = {},
): Promise<SluiceProcess & { port: number; config: (tls: object) => Record<string, unknown> }> {
  const backend = await startBackend((request, response) =>
    response.end(JSON.stringify({ subject: request.headers['x-client-cert-subject'] ?? null })),
  );
  t.after(() => backend.close());
  const config = (tls: object) => ({
    listen: [{ address: '127.0.0.1:0', tls }],
    workers: more.workers ?? 1,
    pools: { app: { backends: [{ url: backend.url }] } },
  });
  const sluice = await startSluice({ config: config({ certificates, ...more.tls }) });
  t.after(() => sluice.stop());
  const port = Number(new URL(sluice.proxyUrl).port);
  return Object.assign(sluice, { port, config });
}

function put(certificate: Certificate, folder: string): { cert: string; key: string } {
  const paths = { cert: join(folder, 'tls.pem'), key: join(folder, 'tls.key') };
  copyFileSync(certificate.certPath, paths.cert);
  copyFileSync(certificate.keyPath, paths.key);
  return paths;
}

async function serialAt(port: number): Promise<string> {
  const socket = await secureSocket({ port, servername: 'localhost' });
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

const metricsOf = async (sluice: SluiceProcess) => (await fetch(`${sluice.adminUrl}/metrics`)).text();

test('B40: the ready line says https, requests are served, and metrics say when the certificate expires', async (t) => {
  const notBefore = new Date(Date.now() - 80 * 24 * 3_600_000);
  const pair = put(authority.issue(['localhost'], { notBefore }), tempFolder(t));
  const sluice = await startWithTls(t, [pair]);
  assert.match(sluice.proxyUrl, /^https:/);
  const client = await secureClient({
    port: sluice.port,
    ca: authority.root.cert,
    rejectUnauthorized: true,
    servername: 'localhost',
  });
  t.after(() => client.close());
  client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  await waitFor('the handshake', async () =>
    /sluice_tls_handshakes_total\{result="ok",version="TLSv1.3",resumed="false"\} 1/.test(
      await metricsOf(sluice),
    ),
  );
  const text = await metricsOf(sluice);
  const left = Number(/sluice_tls_certificate_expiry_seconds\{name="localhost"\} (\S+)/.exec(text)?.[1]);
  assert.ok(left > 80_000 && left <= 86_400, `${left} seconds`);
  // It ends within 14 days.
  assert.ok(sluice.jsonLines(({ msg }) => /the certificate expires on/.test(String(msg))).length > 0);
});

test('B40: files that change are taken over by themselves, atomically, and no connection is dropped', async (t) => {
  const folder = tempFolder(t);
  const versions = [0, 1].map((i) => {
    const own = join(folder, `..${i}`);
    mkdirSync(own);
    const certificate = authority.issue(['localhost']);
    put(certificate, own);
    return new X509Certificate(certificate.cert).serialNumber;
  });
  // As Kubernetes mounts secrets: files behind a link that is replaced.
  symlinkSync('..0', join(folder, '..data'));
  for (const file of ['tls.pem', 'tls.key']) symlinkSync(join('..data', file), join(folder, file));
  const sluice = await startWithTls(t, [{ cert: join(folder, 'tls.pem'), key: join(folder, 'tls.key') }]);
  const kept = await Promise.all(
    (['TLSv1.2', 'TLSv1.3'] as const).map((maxVersion) => secureClient({ port: sluice.port, maxVersion })),
  );
  t.after(() => {
    for (const client of kept) client.close();
  });
  const seen = [await serialAt(sluice.port)];
  symlinkSync('..1', join(folder, '..next'));
  renameSync(join(folder, '..next'), join(folder, '..data'));
  const dropped: unknown[] = [];
  await waitFor('the new certificate', async () => {
    seen.push(
      await serialAt(sluice.port).catch((error: Error) => {
        dropped.push(error);
        return '';
      }),
    );
    return seen.at(-1) !== seen[0];
  });
  assert.deepEqual(dropped, []);
  assert.deepEqual(new Set(seen), new Set(versions), 'no certificate but the two');
  for (const client of kept) {
    client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    assert.equal((await client.readResponse()).status, 200);
    assert.equal(client.ended, false);
  }
});

test('B40: a pair that does not fit keeps the old one, is logged and shown, and its repair is taken over', async (t) => {
  const folder = tempFolder(t);
  const pair = put(authority.issue(['localhost']), folder);
  const sluice = await startWithTls(t, [pair]);
  const before = await serialAt(sluice.port);
  const next = authority.issue(['localhost']);
  copyFileSync(next.certPath, pair.cert);
  await waitFor(
    'the log line',
    () => sluice.jsonLines(({ msg }) => msg === 'changed certificates cannot be used, the old ones stay')[0],
  );
  assert.equal(await serialAt(sluice.port), before);
  assert.match(await metricsOf(sluice), /^sluice_tls_certificates_current 0$/m);
  const refused = await fetch(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  assert.equal(refused.status, 422);
  assert.match(await refused.text(), /listen\[0\]\.tls\.certificates\[0\]\.key/);
  copyFileSync(next.keyPath, pair.key);
  await waitFor('the new certificate', async () => (await serialAt(sluice.port)) !== before, {
    everyMs: 200,
  });
  assert.match(await metricsOf(sluice), /^sluice_tls_certificates_current 1$/m);
});

test('B40: a reload takes other files over, refuses expired ones, and adds and removes tls', async (t) => {
  const pair = put(authority.issue(['localhost']), tempFolder(t));
  const other = put(authority.issue(['localhost']), tempFolder(t));
  const day = 24 * 3_600_000;
  const [notBefore, notAfter] = [new Date(Date.now() - 2 * day), new Date(Date.now() - day)];
  const expired = put(authority.issue(['localhost'], { notBefore, notAfter }), tempFolder(t));
  const sluice = await startWithTls(t, [pair]);
  const before = await serialAt(sluice.port);
  const reload = async (tls: object | null) => {
    const config = sluice.config(tls ?? {});
    sluice.configure(tls === null ? { ...config, listen: [{ address: '127.0.0.1:0' }] } : config);
    const response = await fetch(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
    return `${response.status} ${await response.text()}`;
  };
  assert.match(await reload({ certificates: [expired] }), /^422 .*has expired/s);
  assert.equal(await serialAt(sluice.port), before);
  assert.match(await reload(null), /^200/);
  assert.equal((await fetch(`http://127.0.0.1:${sluice.port}/`)).status, 200);
  assert.match(await reload({ certificates: [other] }), /^200/);
  assert.notEqual(await serialAt(sluice.port), before);
});

test('B40: a certificate that was taken over by itself and has expired since does not hold up a reload', async (t) => {
  const folder = tempFolder(t);
  const pair = put(authority.issue(['localhost']), folder);
  const sluice = await startWithTls(t, [pair]);
  const notAfter = new Date(Date.now() + 15_000);
  put(authority.issue(['localhost'], { notAfter }), folder);
  await waitFor(
    'the new certificate',
    () => sluice.jsonLines(({ msg }) => msg === 'certificates were read again')[0],
  );
  await waitFor('its end', () => Date.now() > notAfter.getTime());
  const response = await fetch(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  assert.equal(response.status, 200, await response.text());
});

test('B40: sessions are resumed by every worker, after a killed worker and after a reload of certificates', async (t) => {
  const pair = put(authority.issue(['localhost']), tempFolder(t));
  const other = put(authority.issue(['localhost']), tempFolder(t));
  const sluice = await startWithTls(t, [pair], { workers: 2 });
  const session = await new Promise<Buffer>((resolve, reject) => {
    secureSocket({ port: sluice.port, servername: 'localhost' }).then((socket) => {
      socket.once('session', (ticket: Buffer) => {
        resolve(ticket);
        socket.destroy();
      });
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
      socket.resume();
    }, reject);
  });
  const resumedOf = async (count: number): Promise<number> => {
    let resumed = 0;
    for (let i = 0; i < count; i++) {
      const socket = await secureSocket({ port: sluice.port, servername: 'localhost', session });
      if (socket.isSessionReused()) resumed += 1;
      socket.destroy();
    }
    return resumed;
  };
  assert.equal(await resumedOf(20), 20, 'over all workers');
  const [killed = 0] = sluice.workerPids();
  process.kill(killed, 'SIGKILL');
  await waitFor('the replacement', () => {
    const pids = sluice.workerPids();
    return pids.length === 2 && !pids.includes(killed);
  });
  await waitFor('two serving workers', async () =>
    /^sluice_workers\{state="serving"\} 2$/m.test(await metricsOf(sluice)),
  );
  assert.equal(await resumedOf(20), 20, 'after a killed worker');
  sluice.configure(sluice.config({ certificates: [other] }));
  assert.equal((await fetch(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  assert.equal(await resumedOf(20), 20, 'after a reload');
});

test('a session with a certificate of a client is resumed only where its authority is trusted, and not after it was removed', async (t) => {
  const own = put(authority.issue(['localhost']), tempFolder(t));
  const backend = await startBackend((request, response) =>
    response.end(String(request.headers['x-client-cert-subject'])),
  );
  t.after(() => backend.close());
  const [partners, staff] = [new Authority('partners'), new Authority('staff')];
  const config = (...authorities: Authority[]) => ({
    listen: authorities.map(({ root }) => ({
      address: '127.0.0.1:0',
      tls: { certificates: [own], clientAuth: 'require', clientCa: root.certPath },
    })),
    workers: 1,
    pools: { app: { backends: [{ url: backend.url }] } },
  });
  const sluice = await startSluice({ config: config(partners, staff) });
  t.after(() => sluice.stop());
  const [port = 0, otherPort = 0] = sluice.ready.addresses.map((url) => Number(new URL(url).port));
  const { cert, key } = partners.issue(['admin']);
  const sessions = [];
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { answer, session } = await ask({ port, cert, key, maxVersion });
    assert.match(answer, /200 OK CN=admin$/);
    assert.ok(session !== undefined);
    sessions.push({ maxVersion, session });
  }
  for (const each of sessions) {
    assert.deepEqual((await ask({ port, ...each })).resumed, true);
    assert.equal(
      (await ask({ port: otherPort, ...each })).answer,
      '',
      `${each.maxVersion}, the other address`,
    );
  }
  const kept = await secureClient({ port, cert, key });
  t.after(() => kept.close());
  sluice.configure(config(staff, partners));
  assert.equal((await fetch(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  for (const each of sessions)
    assert.equal((await ask({ port, ...each })).answer, '', `${each.maxVersion}, after the reload`);
  kept.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.equal((await kept.readResponse()).status, 200, 'a connection that is open stays');
});

test('the examples in docs/tls.md serve curl, and send plain HTTP to https', async (t) => {
  const folder = tempFolder(t);
  put(authority.issue(['localhost']), folder);
  const backend = await startBackend((request, response) =>
    response.end(`subject ${request.headers['x-client-cert-subject'] ?? 'none'}`),
  );
  t.after(() => backend.close());
  const curl = async (...words: string[]) => {
    const { code, stdout } = await runToEnd('curl', ['-sSi', '--cacert', authority.root.certPath, ...words]);
    return `${code} ${stdout.join('\n')}`;
  };
  const start = async (heading: string) => {
    const text = docExample('tls.md', heading)
      .replace('":8080"', '"127.0.0.1:0"')
      .replace('":8443"', '"127.0.0.1:0"')
      .replaceAll('/etc/sluice/tls', join(folder, 'tls'))
      .replaceAll('/etc/sluice/clients.pem', authority.root.certPath)
      .replace('http://127.0.0.1:8081', backend.url);
    const sluice = await startSluice({
      config: { ...parse(text), workers: 1, admin: { address: '127.0.0.1:0' } },
    });
    t.after(() => sluice.stop());
    return sluice.ready.addresses.map((url) => url.replace('127.0.0.1', 'localhost'));
  };
  const [plain = '', secure = ''] = await start('TLS from clients');
  assert.match(await curl(secure), /^0 HTTP\/2 200[\s\S]*subject none/);
  assert.match(await curl('--http1.1', '--tls-max', '1.2', secure), /^0 HTTP\/1\.1 200/);
  assert.match(await curl(plain), /^0 HTTP\/1\.1 308[\s\S]*\r?\nlocation: https:/i);
  const [mutual = ''] = await start('Certificates of clients');
  const own = authority.issue(['alice'], { subject: '/O=Example/CN=alice' });
  assert.match(
    await curl('--cert', own.certPath, '--key', own.keyPath, mutual),
    /200[\s\S]*subject CN=alice,O=Example$/,
  );
  assert.doesNotMatch(await curl(mutual), /^0/);
});
