/** B40: certificates of listeners, at a load: what is wrong is named with its file. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync } from 'node:fs';
import { test } from 'node:test';
import { namesOf } from '../../src/config/listener-certificates.ts';
import { formatProblems } from '../../src/config/problems.ts';
import { configView } from '../../src/primary/admin/config.ts';
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

test('a key that everybody can read and a certificate that ends soon are warnings; the view has paths alone', () => {
  const made = authority.issue(['soon.test']);
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
