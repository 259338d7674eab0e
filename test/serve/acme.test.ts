/** Certificates by ACME in the whole product, against a real authority. */
import assert from 'node:assert/strict';
import type { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { parse } from 'yaml';
import { migrate } from '../../src/infra/postgres/migrations.ts';
import { AcmeFiles } from '../../src/primary/acme/files.ts';
import { openDatabase, silent } from '../postgres/support.ts';
import { startBackend } from '../support/backend.ts';
import { Authority as TestAuthority } from '../support/certificates.ts';
import { docExample } from '../support/doc-example.ts';
import { freePort } from '../support/free-port.ts';
import { type Authority, startAuthority } from '../support/pebble.ts';
import { makeDatabase, startPostgres } from '../support/postgres.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const NAME = 'www.example.com';
const OTHER_NAME = 'other.example.com';
const LONG = { timeoutMs: 30_000 };

/** The chain that the address shows for the name, checked against the authority's root. Rejects where the handshake fails. */
async function shake(port: number, servername: string, ca: string): Promise<X509Certificate> {
  const socket: TLSSocket = connect({ host: '127.0.0.1', port, servername, ca });
  try {
    await once(socket, 'secureConnect');
    const certificate = socket.getPeerX509Certificate();
    assert.ok(certificate);
    return certificate;
  } finally {
    socket.destroy();
  }
}

function configOf(authority: Authority, ports: { plain: number; secure: number }, more: object = {}) {
  return {
    listen: [
      { address: `127.0.0.1:${ports.plain}` },
      { address: `127.0.0.1:${ports.secure}`, tls: { acme: [NAME] } },
    ],
    acme: { directory: authority.directory, ca: authority.ca, email: 'ops@example.com', agreeToTerms: true },
    routes: [{ name: 'to-https', redirect: { scheme: 'https' } }],
    workers: 2,
    ...more,
  };
}

async function metric(sluice: SluiceProcess, line: RegExp): Promise<boolean> {
  return line.test(await (await fetch(`${sluice.adminUrl}/metrics`)).text());
}

test('the first certificate comes while the plain port serves, and is there at once after a restart', async (t) => {
  const ports = { plain: await freePort(), secure: await freePort() };
  const authority = await startAuthority(t, { httpPort: ports.plain });
  const root = await authority.root();
  authority.intercept = (path) => (path === '/dir' ? { status: 503 } : null);
  const folder = tempFolder(t);
  const config = configOf(authority, ports);
  const refused = await startSluice({ config, folder });
  t.after(() => refused.stop());
  const answer = await fetch(refused.proxyUrl, { redirect: 'manual', headers: { host: NAME } });
  assert.equal(answer.status, 308);
  await assert.rejects(shake(ports.secure, NAME, root), 'there is no certificate');
  await waitFor('a failed order', () => metric(refused, /^sluice_acme_orders_total\{result="failed"\} 1$/m));
  await refused.stop();

  // The failure is remembered: in another folder Sluice knows nothing of it.
  authority.intercept = () => null;
  const home = tempFolder(t);
  const sluice = await startSluice({ config, folder: home });
  t.after(() => sluice.stop());
  const first = await waitFor('a certificate', () => shake(ports.secure, NAME, root), LONG);
  await waitFor('the metrics', () => metric(sluice, /^sluice_acme_orders_total\{result="ok"\} 1$/m));
  await waitFor('the expiry', () =>
    metric(sluice, /^sluice_tls_certificate_expiry_seconds\{name="www.example.com"\} \d+/m),
  );
  const over = await fetch(`http://127.0.0.1:${ports.plain}/a?b`, { redirect: 'manual' });
  assert.equal(over.headers.get('location'), `https://127.0.0.1:${ports.secure}/a?b`);
  const [plain, secure] = config.listen;
  sluice.configure({ ...config, listen: [plain, { ...secure, tls: { acme: [NAME, OTHER_NAME] } }] });
  sluice.signal('SIGHUP');
  await waitFor(
    'the certificate of a name that a reload brings',
    () => shake(ports.secure, OTHER_NAME, root),
    LONG,
  );
  await sluice.stop();

  authority.requests.length = 0;
  const again = await startSluice({ config, folder: home });
  t.after(() => again.stop());
  assert.equal((await shake(ports.secure, NAME, root)).fingerprint256, first.fingerprint256);
  await again.stop();
  assert.deepEqual(authority.requests, [], 'nothing is ordered that is there');
});

test('a reload with another authority goes on to serve the certificate that is there, one without the block forgets it', async (t) => {
  const made = new TestAuthority();
  const folder = tempFolder(t);
  const { key, cert } = made.issue([NAME]);
  const directory = 'https://127.0.0.1:1/dir';
  new AcmeFiles(join(folder, 'acme'), directory).saveCertificate(NAME, key + cert);
  const own = made.issue(['localhost']);
  const configWith = (at: string | null) => ({
    listen: [
      { address: '127.0.0.1:0' },
      {
        address: '127.0.0.1:0',
        tls: {
          certificates: [{ cert: own.certPath, key: own.keyPath }],
          acme: at === null ? [] : [NAME],
        },
      },
    ],
    ...(at !== null && { acme: { directory: at, agreeToTerms: true, storage: join(folder, 'acme') } }),
    routes: [{ name: 'to-https', redirect: {} }],
    workers: 1,
  });
  const sluice = await startSluice({ config: configWith(directory) });
  t.after(() => sluice.stop());
  const port = Number(new URL(sluice.ready.addresses[1] ?? '').port);
  const shown = async () => (await shake(port, NAME, made.root.cert)).toString().trim();
  const isDue = (count: number) => metric(sluice, new RegExp(`^sluice_acme_certificates_due ${count}$`, 'm'));
  const reload = async (config: ReturnType<typeof configWith>) => {
    sluice.configure(config);
    const response = await fetch(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
    assert.equal(response.status, 200, await response.text());
  };
  assert.equal(await shown(), cert.trim());
  await reload(configWith('https://127.0.0.1:1/other'));
  await waitFor('a failed order', () =>
    metric(sluice, /^sluice_acme_orders_total\{result="failed"\} [1-9]/m),
  );
  assert.equal(await shown(), cert.trim());
  assert.ok(await isDue(1));
  await reload(configWith(null));
  const forgotten = async () =>
    !(await metric(sluice, new RegExp(`^sluice_tls_certificate_expiry_seconds\\{name="${NAME}"\\}`, 'm')));
  await waitFor('the metric of a certificate that nobody serves to go', forgotten);
  assert.ok(await isDue(0));
});

test('an order ends when a drain begins, and is no failure', async (t) => {
  const ports = { plain: await freePort(), secure: await freePort() };
  const authority = await startAuthority(t, { httpPort: ports.plain });
  authority.intercept = (path) => (path === '/order-plz' ? 'never' : null);
  const folder = tempFolder(t);
  const config = { ...configOf(authority, ports), timeouts: { drainGrace: '30s' } };
  const sluice = await startSluice({ config, folder });
  t.after(() => sluice.child.kill());
  await waitFor('an order', () => authority.requests.includes('POST /order-plz'));
  sluice.signal('SIGTERM');
  const files = new AcmeFiles(join(folder, 'data/acme'), authority.directory);
  await waitFor('the end of the order', () => JSON.parse(files.attemptsJson ?? '')[NAME].failures === 0);
  assert.equal(sluice.child.exitStatus, null, 'it still drains');
});

test('one machine answers the proof of another, and a third takes over its certificate without an order', async (t) => {
  const postgres = await startPostgres();
  after(() => postgres.remove());
  const url = await makeDatabase(postgres);
  await migrate(openDatabase(t, url), 'up', { logger: silent });
  const ports = async () => ({ plain: await freePort(), secure: await freePort() });
  const [answering, ordering, late] = [await ports(), await ports(), await ports()];
  const authority = await startAuthority(t, { httpPort: answering.plain });
  const root = await authority.root();
  const machine = async (at: typeof late, more: object = {}): Promise<SluiceProcess> => {
    const config = configOf(authority, at, { database: { url }, workers: 1, ...more });
    const sluice = await startSluice({ config, folder: tempFolder(t) });
    t.after(() => sluice.stop());
    return sluice;
  };
  // It has no address with TLS.
  const front = await machine(answering, { listen: [{ address: `127.0.0.1:${answering.plain}` }] });
  const second = await machine(ordering);
  const ordered = await waitFor('the certificate', () => shake(ordering.secure, NAME, root), LONG);
  const third = await machine(late);
  const taken = await waitFor(
    'the certificate of the other machine',
    () => shake(late.secure, NAME, root),
    LONG,
  );
  assert.equal(taken.fingerprint256, ordered.fingerprint256);
  assert.equal(authority.requests.filter((line) => line === 'POST /order-plz').length, 1);
  await Promise.all([front, second, third].map((sluice) => sluice.stop()));
});

test("the six lines of docs/tls.md serve a backend over https, with Let's Encrypt's part played by Pebble", async (t) => {
  const yaml = docExample('tls.md', "Let's Encrypt in six lines");
  assert.equal(yaml.trim().split('\n').length, 6);
  const backend = await startBackend((_, answer) => answer.end('served'));
  t.after(() => backend.close());
  const ports = { plain: await freePort(), secure: await freePort() };
  const authority = await startAuthority(t, { httpPort: ports.plain });
  const config = parse(
    yaml
      .replace('":80"', `"127.0.0.1:${ports.plain}"`)
      .replace('":443"', `"127.0.0.1:${ports.secure}"`)
      .replace(/https:\/\/acme-v02\S+directory/, authority.directory)
      .replace('agreeToTerms', `ca: ${authority.ca}, agreeToTerms`)
      .replace('http://127.0.0.1:8081', backend.url),
  );
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const root = await authority.root();
  for (const name of ['example.com', NAME])
    await waitFor(`the certificate of ${name}`, () => shake(ports.secure, name, root), LONG);
  const socket = connect({ host: '127.0.0.1', port: ports.secure, servername: NAME, ca: root });
  socket.write(`GET / HTTP/1.1\r\nHost: ${NAME}\r\nConnection: close\r\n\r\n`);
  const text = Buffer.concat(await socket.toArray()).toString();
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
  await sluice.stop();
});
