/** Files of certificates and keys: read by the process that checks, and named where they are wrong. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatProblems } from '../../src/config/problems.ts';
import type { PoolTlsSettings } from '../../src/contract/pool-settings.ts';
import { configView } from '../../src/primary/admin/config-view.ts';
import { Authority } from '../support/certificates.ts';
import { parseConfig } from '../support/parse-config.ts';
import { tempFolder } from '../support/temp-folder.ts';

const authority = new Authority();
const own = authority.issue(['sluice']);
const file = (name: string, text: string | Buffer) => {
  const path = join(authority.folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};
const DAY_MS = 24 * 3_600_000;

function load(tls: Record<string, unknown>, url = 'https://app.internal') {
  const text = `pools:
  app:
    backends: [{ url: "${url}" }]
    tls: ${JSON.stringify(tls)}
`;
  return parseConfig(text, {});
}

function problemsOf(tls: Record<string, unknown>): string[] {
  const loaded = load(tls);
  return 'problems' in loaded ? formatProblems('f', loaded.problems) : [];
}

function warningsOf(tls: Record<string, unknown>, url?: string): string[] {
  const loaded = load(tls, url);
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  return formatProblems('f', loaded.warnings);
}

test('https:// backends have port 443 and verified TLS without a block `tls`; the URL may give a port', () => {
  const text =
    'pools: { app: { backends: [{ url: "https://A.internal" }, { url: "https://[::1]:8443" }, { url: "http://b" }] } }';
  const loaded = parseConfig(text, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  const [app] = loaded.settings.pools;
  assert.deepEqual(app?.backends, [
    { id: 'a.internal:443', host: 'a.internal', port: 443, tls: true, weight: 1, backup: false },
    { id: '[::1]:8443', host: '::1', port: 8443, tls: true, weight: 1, backup: false },
    { id: 'b:80', host: 'b', port: 80, tls: false, weight: 1, backup: false },
  ]);
  assert.deepEqual(app?.tls, { ca: null, cert: null, key: null, serverName: null, verify: true });
});

test('the settings hold what the files hold; the shown configuration has their paths alone, and loads again', () => {
  const { certPath: cert, keyPath: key } = own;
  const loaded = load({ ca: authority.root.certPath, cert, key, serverName: 'App.Internal', verify: true });
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  const expected: PoolTlsSettings = {
    ca: { path: authority.root.certPath, pem: authority.root.cert },
    cert: { path: cert, pem: own.cert },
    key: { path: key, pem: own.key },
    serverName: 'app.internal',
    verify: true,
  };
  assert.deepEqual(loaded.settings.pools[0]?.tls, expected);
  assert.deepEqual(loaded.warnings, []);
  const shown = JSON.stringify(configView(loaded.settings));
  assert.doesNotMatch(shown, /BEGIN|PRIVATE/);
  const again = parseConfig(shown, {});
  assert.deepEqual('settings' in again && again.settings, loaded.settings);
});

test('a file that cannot be used is a problem that names key and file, and shows nothing of a secret', () => {
  const missing = join(authority.folder, 'missing.pem');
  assert.deepEqual(problemsOf({ ca: missing, cert: authority.folder, key: missing }), [
    `f:4: pools.app.tls.ca: the file does not exist: ${missing}`,
    `f:4: pools.app.tls.cert: is a folder, not a file: ${authority.folder}`,
    `f:4: pools.app.tls.key: the file does not exist: ${missing}`,
  ]);
  assert.deepEqual(problemsOf({ ca: 'missing.pem' }), [
    `f:4: pools.app.tls.ca: the file does not exist: ${join(process.cwd(), 'missing.pem')}`,
  ]);
  const garbage = file('garbage.pem', 'hunter2');
  const broken = file('broken.pem', own.cert.replace(/\n[A-Za-z0-9+/]{20}/, '\nhunter2hunter2hunter2'));
  const binary = file('binary.pem', Buffer.from([0xff, 0xfe, 0]));
  const encrypted = join(authority.folder, 'encrypted.key');
  const password = ['-aes256', '-passout', 'pass:hunter2'];
  execFileSync('openssl', ['ec', '-in', own.keyPath, '-out', encrypted, ...password], { stdio: 'ignore' });
  const noCertificate = 'the file holds no certificate that can be read (PEM)';
  const cases: [Record<string, string>, string][] = [
    [{ ca: garbage }, `ca: ${noCertificate}: ${garbage}`],
    [{ ca: broken }, `ca: ${noCertificate}: ${broken}`],
    [{ ca: binary }, `ca: the file is not UTF-8 text: ${binary}`],
    [{ ca: own.keyPath }, `ca: ${noCertificate}: ${own.keyPath}`],
    [{ cert: own.certPath }, 'key: is needed with a certificate'],
    [{ key: own.keyPath }, 'cert: is needed with a key'],
    [
      { cert: own.certPath, key: garbage },
      `key: the file holds no private key that can be read (PEM): ${garbage}`,
    ],
    [
      { cert: own.certPath, key: authority.root.keyPath },
      `key: the key is not that of the certificate: ${authority.root.keyPath}`,
    ],
    [
      { cert: own.certPath, key: encrypted },
      `key: the key is encrypted, and Sluice asks nobody for a password: ${encrypted}`,
    ],
  ];
  const [weakCert, weakKey] = [join(authority.folder, 'weak.pem'), join(authority.folder, 'weak.key')];
  const request = ['req', '-x509', '-newkey', 'rsa:1024', '-nodes', '-subj', '/CN=weak', '-days', '2'];
  execFileSync('openssl', [...request, '-keyout', weakKey, '-out', weakCert], { stdio: 'ignore' });
  cases.push([{ cert: weakCert, key: weakKey }, `cert: OpenSSL refuses it (ee key too small): ${weakCert}`]);
  for (const [tls, problem] of cases) assert.deepEqual(problemsOf(tls), [`f:4: pools.app.tls.${problem}`]);
  assert.deepEqual(problemsOf({ serverName: '10.0.0.1' }), [
    'f:4: pools.app.tls.serverName: must be a host name',
  ]);
});

test('expired certificates, a key that every user can read, and TLS that verifies nothing or is not used are warnings', () => {
  const old = authority.issue(['sluice'], {
    notBefore: new Date(Date.now() - 3 * DAY_MS),
    notAfter: new Date(Date.now() - DAY_MS),
  });
  chmodSync(old.keyPath, 0o644);
  const [expired, readable] = warningsOf({ cert: old.certPath, key: old.keyPath });
  assert.match(expired ?? '', /^f:4: pools\.app\.tls\.cert: the certificate has expired on .*Z: \/.*\.pem$/);
  assert.equal(
    readable,
    `f:4: pools.app.tls.key: every user of this machine can read the key: ${old.keyPath}`,
  );
  assert.deepEqual(warningsOf({ verify: false }), [
    'f:4: pools.app.tls.verify: certificates are not verified: whoever is on the way can read and change everything',
  ]);
  assert.deepEqual(warningsOf({}, 'http://a'), ['f:4: pools.app.tls: no backend of the pool is https://']);
});

test('acme.ca is read at the load: a file that is missing or holds nothing is a problem, an expired one a warning', (t) => {
  const load = (ca: string) => {
    const acme = { directory: 'https://ca.example/dir', agreeToTerms: true, ca, storage: tempFolder(t) };
    const listen = [{ address: ':80' }, { address: ':443', tls: { acme: ['a.example'] } }];
    const pools = { app: { backends: [{ url: 'http://127.0.0.1:1' }] } };
    return parseConfig(JSON.stringify({ acme, listen, pools }), {});
  };
  const problemsOf = (ca: string) => {
    const loaded = load(ca);
    return 'problems' in loaded ? formatProblems('f', loaded.problems) : [];
  };
  assert.deepEqual(problemsOf('/nowhere.pem'), ['f:1: acme.ca: the file does not exist: /nowhere.pem']);
  const { keyPath } = authority.root;
  assert.deepEqual(problemsOf(keyPath), [
    `f:1: acme.ca: the file holds no certificate that can be read (PEM): ${keyPath}`,
  ]);
  const old = authority.issue(['old'], { notAfter: new Date(Date.now() - 1_000) });
  const loaded = load(old.certPath);
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  assert.match(formatProblems('f', loaded.warnings).join(), /^f:1: acme.ca: the certificate has expired on /);
  assert.deepEqual(loaded.settings.acme?.ca, { path: old.certPath, pem: old.cert });
  const again = parseConfig(JSON.stringify(configView(loaded.settings)), {});
  assert.ok('settings' in again, JSON.stringify(again));
  assert.deepEqual(again.settings.acme, loaded.settings.acme);
});
