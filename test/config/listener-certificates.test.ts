/** B40: certificates of listeners, at a load: what is wrong is named with its file. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { namesOf } from '../../src/config/listener-certificates.ts';
import { formatProblems } from '../../src/config/problems.ts';
import { configView } from '../../src/primary/admin/config-view.ts';
import { Authority } from '../support/certificates.ts';
import { parseConfig } from '../support/parse-config.ts';

const authority = new Authority();
const own = authority.issue(['sluice.test', '*.Sluice.test', '127.0.0.1']);
const DAY_MS = 24 * 3_600_000;

function load(tls: object) {
  const text = JSON.stringify({
    listen: [{ address: ':8443', tls }],
    pools: { app: { backends: [{ url: 'http://127.0.0.1:1' }] } },
  });
  return parseConfig(text, {});
}

function problemsOf(tls: object): string {
  const loaded = load(tls);
  return 'problems' in loaded ? formatProblems('f', loaded.problems).join('\n') : '';
}

test('names of a certificate are those of its SAN, in lower case', () => {
  assert.deepEqual(namesOf(new X509Certificate(own.cert)), ['sluice.test', '*.sluice.test', '127.0.0.1']);
});

test('B40: files that cannot be read, are mismatched or have expired are refused by their paths', () => {
  const other = authority.issue(['other.test']);
  const [notBefore, notAfter] = [new Date(Date.now() - 2 * DAY_MS), new Date(Date.now() - DAY_MS)];
  const old = authority.issue(['old.test'], { notBefore, notAfter });
  const at = 'listen[0].tls.certificates[0]';
  const cases: [object, string, string][] = [
    [{ cert: '/nowhere/a.pem', key: own.keyPath }, `${at}.cert: the file does not exist`, '/nowhere/a.pem'],
    [
      { cert: own.certPath, key: other.keyPath },
      `${at}.key: the key is not that of the certificate`,
      other.keyPath,
    ],
    [{ cert: own.keyPath, key: own.keyPath }, `${at}.cert: the file holds no certificate`, own.keyPath],
    [{ cert: old.certPath, key: old.keyPath }, `${at}.cert: the certificate has expired on`, old.certPath],
  ];
  for (const [pair, message, path] of cases) {
    const text = problemsOf({ certificates: [pair] });
    assert.ok(text.includes(message) && text.includes(path), text);
  }
});

test('certificates of clients need authorities, and authorities need clientAuth', () => {
  const certificates = [{ cert: own.certPath, key: own.keyPath }];
  assert.match(
    problemsOf({ certificates, clientAuth: 'require' }),
    /tls\.clientCa: is needed with clientAuth: require/,
  );
  assert.match(
    problemsOf({ certificates, clientCa: authority.root.certPath }),
    /tls\.clientCa: is used only with/,
  );
});

/** The warnings of a file with this certificate. */
function warningsOf(tls: object): string {
  const loaded = load(tls);
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  return formatProblems('f', loaded.warnings).join('\n');
}

test('a warning comes 14 days before the end of a certificate, and of a short-lived one when a quarter is left', () => {
  const cases: [lifetimeDays: number, leftDays: number, warns: boolean][] = [
    [90, 15, false],
    [90, 13, true],
    [20, 6, false],
    [20, 4, true],
    [1, 0.3, false],
    [1, 0.2, true],
  ];
  for (const [lifetimeDays, leftDays, warns] of cases) {
    const notAfter = new Date(Date.now() + leftDays * DAY_MS);
    const notBefore = new Date(notAfter.getTime() - lifetimeDays * DAY_MS);
    const { certPath: cert, keyPath: key } = authority.issue(['a.test'], { notBefore, notAfter });
    const text = warningsOf({ certificates: [{ cert, key }] });
    assert.equal(/the certificate expires on/.test(text), warns, `${lifetimeDays}, ${leftDays}: ${text}`);
  }
});

test('a certificate that is not valid yet, an expired one in a chain, and expired authorities of clients are warnings', () => {
  const dates = (from: number, to: number) => ({
    notBefore: new Date(Date.now() + from * DAY_MS),
    notAfter: new Date(Date.now() + to * DAY_MS),
  });
  const early = authority.issue(['early.test'], dates(1, 9));
  const expired = authority.issue(['expired.test'], dates(-9, -1));
  const chain = join(authority.folder, 'chain.pem');
  writeFileSync(chain, own.cert + expired.cert);
  const text = warningsOf({
    certificates: [
      { cert: early.certPath, key: early.keyPath },
      { cert: chain, key: own.keyPath },
    ],
    clientAuth: 'optional',
    clientCa: expired.certPath,
  });
  assert.match(text, /certificates\[0\]\.cert: the certificate is not valid before .*Z: /);
  assert.match(text, /certificates\[1\]\.cert: certificate 2 of the file has expired on .*Z: /);
  assert.match(text, /tls\.clientCa: the certificate has expired on .*Z: /);
});

test('a name that has a certificate of a file and is in acme is a warning', () => {
  const text = JSON.stringify({
    listen: [
      { address: ':8080' },
      {
        address: ':8443',
        tls: { certificates: [{ cert: own.certPath, key: own.keyPath }], acme: ['sluice.test'] },
      },
    ],
    acme: { directory: 'https://acme.test/', agreeToTerms: true, storage: authority.folder },
    pools: { app: { backends: [{ url: 'http://127.0.0.1:1' }] } },
  });
  const loaded = parseConfig(text, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  assert.match(
    formatProblems('f', loaded.warnings).join('\n'),
    /certificates\[0\]\.cert: sluice\.test is in tls\.acme too: once a certificate is fetched, it is used/,
  );
});

test('a key that everybody can read and a certificate that ends soon are warnings; the view has paths alone', () => {
  const made = authority.issue(['soon.test'], { notBefore: new Date(Date.now() - 80 * DAY_MS) });
  chmodSync(made.keyPath, 0o644);
  const loaded = load({ certificates: [{ cert: made.certPath, key: made.keyPath }], clientAuth: 'off' });
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  const text = formatProblems('f', loaded.warnings).join('\n');
  assert.match(text, /certificates\[0\]\.key: every user of this machine can read the key: /);
  assert.match(text, /certificates\[0\]\.cert: the certificate expires on /);
  const shown = JSON.stringify(configView(loaded.settings));
  assert.doesNotMatch(shown, /BEGIN|PRIVATE/);
  const again = parseConfig(shown, {});
  assert.ok('settings' in again, JSON.stringify(again));
  assert.deepEqual(again.settings.listen, loaded.settings.listen);
});
