/** Orders at a real authority; a proxy answers its challenges. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { assertValidAt, readCertificate, renewalMs } from '../../../src/primary/acme/certificate.ts';
import type { AcmeTimes } from '../../../src/primary/acme/order-times.ts';
import { type Intercept, startAuthority } from '../../support/pebble.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';
import { copyOf, startAnswering, startManager } from './support.ts';

test('a certificate per name is fetched, kept in files for the owner alone, and found again', async (t) => {
  const { port, tellWorkers, challenges } = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: port, badNonces: 50 });
  const storage = join(tempFolder(t), 'acme');
  const names = ['one.example', 'two.example'];
  const { manager } = startManager(t, authority, { tellWorkers, storage, names });
  await waitFor('two certificates', () => manager.certificates.length === 2);
  assert.equal(challenges.size, 0, 'no challenge stays open');
  const root = new X509Certificate(await authority.root());
  for (const { name, pem, chainPem } of manager.certificates) {
    const [leaf, issuer] = chainPem
      .split(/(?<=END CERTIFICATE-----\n)/)
      .map((text) => new X509Certificate(text));
    assert.equal(leaf?.checkHost(name), name);
    assert.ok(issuer?.verify(root.publicKey));
    assert.equal(leaf?.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
    assert.match(pem, /^-----BEGIN PRIVATE KEY-----/);
  }
  await manager.close();

  const [folder = ''] = readdirSync(storage);
  const files = readdirSync(join(storage, folder)).sort();
  assert.deepEqual(files, ['account.key', 'attempts.json', 'one.example.pem', 'two.example.pem']);
  const modeOf = (...parts: string[]) => (statSync(join(storage, ...parts)).mode & 0o777).toString(8);
  assert.deepEqual([modeOf(), modeOf(folder)], ['700', '700']);
  assert.deepEqual(new Set(files.map((file) => modeOf(folder, file))), new Set(['600']));

  const asked = authority.requests.length;
  // As a killed process leaves it.
  writeFileSync(join(storage, folder, 'one.example.pem.0123456789ab'), 'half of a private key');
  const again = startManager(t, authority, { tellWorkers, storage, names });
  assert.deepEqual(again.manager.certificates, manager.certificates);
  assert.deepEqual(readdirSync(join(storage, folder)).sort(), files);
  await again.manager.close();
  assert.equal(authority.requests.length, asked, 'a certificate that lasts is not ordered again');
});

test('a certificate is renewed when a third of its lifetime is left, with the same account', async (t) => {
  const { port, tellWorkers } = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: port, validitySec: 12 });
  const storage = tempFolder(t);
  const { manager, changes } = startManager(t, authority, { tellWorkers, storage });
  await waitFor('the renewal', () => changes.length >= 2);
  const [first, second] = changes.map(([certificate]) => certificate);
  assert.ok(first && second && manager.certificates.length === 1);
  const renewedAfterMs = second.notBeforeMs - first.notBeforeMs;
  assert.ok(renewedAfterMs >= 7_000 && renewedAfterMs <= 11_000, `renewed after ${renewedAfterMs} ms`);
  assert.notEqual(second.keyPem, first.keyPem);
  const accounts = authority.requests.filter((line) => line.startsWith('POST /sign-me-up'));
  assert.equal(accounts.length, 2, 'the second one finds the account of the key');
});

test('renewal comes with two thirds of the lifetime, up to a thirtieth earlier', () => {
  const dayMs = 86_400_000;
  const days = Array.from({ length: 200 }, (_, i) => {
    const times = { notBeforeMs: 0, notAfterMs: 90 * dayMs };
    return (
      renewalMs({ name: 'a', pem: `${i}`, keyPem: '', chainPem: '', isForeign: false, ...times }) / dayMs
    );
  });
  assert.ok(days.every((day) => day >= 57 && day <= 60));
  assert.ok(Math.max(...days) - Math.min(...days) > 2.5);
});

test('a certificate counts for its name, its key and its time alone', async (t) => {
  const { ca } = await startAuthority(t, { httpPort: 1 });
  const own = readFileSync(ca, 'utf8');
  const key = readFileSync(ca.replace('.pem', '.key'), 'utf8');
  const certificate = readCertificate(key + own, 'localhost');
  assert.equal(certificate.keyPem.trim(), key.trim());
  assert.throws(() => readCertificate(key + own, 'other.example'), /is not for other.example/);
  assert.throws(() => readCertificate(own, 'localhost'), /has no private key/);
  assert.throws(() => readCertificate(key + own.repeat(11), 'localhost'), /chain of more than 10/);
  assert.throws(() => readCertificate(key + own.repeat(200), 'localhost'), /longer than 65536/);
  const { notBeforeMs, notAfterMs } = certificate;
  assertValidAt(certificate, notBeforeMs - 60_000);
  assert.throws(() => assertValidAt(certificate, notAfterMs), /has expired/);
  assert.throws(() => assertValidAt(certificate, notBeforeMs - 7_200_000), /is not valid before/);
});

function pendingIn(order: string): string {
  return order.replace(/"status": "\w+"/, '"status": "pending"');
}

function refusedIn(order: string): string {
  const error = '"error": {"type": "urn:ietf:params:acme:error:caa", "detail": "not allowed"}';
  return order.replace(/"status": "\w+"/, `"status": "invalid", ${error}`);
}

/** What an authority may do wrong, and what the log says of it. */
const FAULTS: [what: string, intercept: Intercept, said: RegExp, times?: Partial<AcmeTimes>][] = [
  ['answers with 500', () => ({ status: 500, body: 'no' }), /directory returned error 500/],
  ['answers no JSON', (path) => (path === '/dir' ? { body: '<html>' } : null), /newNonce|Unable to locate/],
  ['never answers', () => 'never', /did not answer within 300 ms/, { requestMs: 300 }],
  ['answers without end', () => ({ body: 'x'.repeat(1_000_000) }), /more than 262144 bytes/],
  [
    'names plain addresses',
    (path, { body }) => (path === '/dir' ? { body: body.replaceAll('https:', 'http:') } : null),
    /not https:/,
  ],
  [
    'refuses every nonce',
    (path) =>
      path === '/sign-me-up'
        ? { status: 400, body: '{"type":"urn:ietf:params:acme:error:badNonce","detail":"bad nonce"}' }
        : null,
    /badNonce: bad nonce/,
  ],
  [
    'keeps an order pending for ever',
    (path, { body }) => (path.startsWith('/my-order/') ? { body: pendingIn(body) } : null),
    /did not complete the order within 2500 ms/,
    { orderMs: 2_500 },
  ],
  [
    'refuses an order',
    (path, { body }) => (path.startsWith('/my-order/') ? { body: refusedIn(body) } : null),
    /the authority refuses the order: caa: not allowed/,
  ],
  [
    'issues a certificate for another key',
    (path) => (path.startsWith('/certZ/') ? { body: OTHER_CERTIFICATE } : null),
    /belongs to another private key/,
  ],
  [
    'sends a chain that does not belong to the certificate',
    (path, { body }) =>
      path.startsWith('/certZ/')
        ? { body: body.replace(/(END CERTIFICATE-----\n).*/s, `$1${STRANGER}`) }
        : null,
    /one certificate did not sign the one before/,
  ],
  [
    'issues no certificate',
    (path) => (path.startsWith('/certZ/') ? { body: 'soon' } : null),
    /has no certificate/,
  ],
];
let OTHER_CERTIFICATE = '';
let STRANGER = '';

test('an authority that is wrong, slow or away costs a bounded time, and not the certificate that is to be renewed', async (t) => {
  const { port, tellWorkers, challenges } = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: port });
  const storage = tempFolder(t);
  const first = startManager(t, authority, { tellWorkers, storage });
  await waitFor('the first certificate', () => first.manager.certificates[0]);
  const [held] = first.manager.certificates;
  await first.manager.close();
  OTHER_CERTIFICATE = held?.chainPem ?? '';
  STRANGER = readFileSync(authority.ca, 'utf8');
  const [folder = ''] = readdirSync(storage);
  const kept = readFileSync(join(storage, folder, 'one.example.pem'), 'utf8');

  // It is due for renewal.
  const { now } = Date;
  t.mock.method(Date, 'now', () => now() + 70 * 86_400_000);
  for (const [what, intercept, said, slow] of FAULTS) {
    authority.intercept = intercept;
    authority.requests.length = 0;
    const times = { firstPauseMs: 60_000, ...slow };
    const { manager, orders, lines } = startManager(t, authority, {
      tellWorkers,
      storage: copyOf(t, storage),
      times,
    });
    assert.equal(manager.dueCount, 1);
    await waitFor(`a failed order: the authority ${what}`, () => orders.length > 0);
    assert.deepEqual(orders, ['failed'], what);
    const [line] = lines.filter(({ msg }) => msg === 'no certificate was obtained');
    assert.match(JSON.stringify(line), said, what);
    assert.deepEqual(
      manager.certificates.map(({ pem }) => pem),
      [kept],
      what,
    );
    assert.equal(challenges.size, 0, `${what}: no challenge stays open`);
    assert.ok(authority.requests.length < 30, `${what}: ${authority.requests.length} requests`);
    await manager.close();
  }
});

test('an order is not looked at more often than the authority asks', async (t) => {
  const { port, tellWorkers } = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: port });
  const looksMs: number[] = [];
  authority.intercept = (path, { body }) => {
    if (!path.startsWith('/my-order/') || looksMs.length === 3) return null;
    looksMs.push(performance.now());
    return { headers: { 'retry-after': '2' }, body: pendingIn(body) };
  };
  const { manager } = startManager(t, authority, { tellWorkers, storage: tempFolder(t) });
  await waitFor('the certificate', () => manager.certificates[0]);
  const pauses = looksMs.slice(1).map((atMs, i) => atMs - (looksMs[i] ?? 0));
  assert.ok(pauses.length === 2 && pauses.every((ms) => ms >= 1_900), pauses.join());
});

test('a failure is remembered over a restart, and an authority is left alone for as long as it asks, a day at most', async (t) => {
  const { port, tellWorkers } = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: port });
  for (const [retryAfter, waitSec] of [
    ['3600', 3_600],
    ['999999999', 86_400],
  ] as const) {
    const problem = '{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates"}';
    authority.intercept = (path) =>
      path === '/order-plz' ? { status: 429, headers: { 'retry-after': retryAfter }, body: problem } : null;
    const storage = tempFolder(t);
    const { manager, orders, lines } = startManager(t, authority, { tellWorkers, storage });
    await waitFor('the refusal', () => orders.length > 0);
    const line = lines.find(({ msg }) => msg === 'no certificate was obtained');
    assert.match(JSON.stringify(line), /rateLimited: too many certificates/);
    assert.equal(line?.nextAttemptSec, waitSec);
    await manager.close();
    authority.requests.length = 0;
    const again = startManager(t, authority, { tellWorkers, storage });
    const said = await waitFor('a line that says when it goes on', () =>
      again.lines.find(({ msg }) => msg === 'a certificate is due, and its next order waits'),
    );
    assert.deepEqual([said.name, said.failures], ['one.example', 1]);
    assert.ok(Math.abs(Number(said.nextAttemptSec) - waitSec) < 60, JSON.stringify(said));
    await again.manager.close();
    assert.deepEqual(authority.requests, []);
  }
  authority.close();
  const { orders, lines } = startManager(t, authority, {
    tellWorkers,
    storage: tempFolder(t),
    times: { firstPauseMs: 50 },
  });
  await waitFor('three attempts at an authority that is away', () => orders.length >= 3);
  const pauses = lines.flatMap(({ failures }) => failures ?? []);
  assert.deepEqual(pauses.slice(0, 3), [1, 2, 3]);
  assert.match(JSON.stringify(lines), /ECONNREFUSED/);
});

test('four orders are under way at once, and those that this process gives up are no failures', async (t) => {
  const { port, tellWorkers } = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: port });
  const ordersOf = () => authority.requests.filter((line) => line === 'POST /order-plz').length;
  authority.intercept = (path) => (path === '/order-plz' ? 'never' : null);
  const storage = tempFolder(t);
  const names = [1, 2, 3, 4, 5, 6].map((i) => `a${i}.example`);
  const { manager, orders, lines } = startManager(t, authority, { tellWorkers, storage, names });
  await waitFor('four orders', () => ordersOf() === 4);
  assert.equal(manager.dueCount, 6);
  await manager.close();
  assert.equal(ordersOf(), 4);
  assert.deepEqual(orders, []);
  assert.deepEqual(
    lines.filter(({ msg }) => msg === 'no certificate was obtained'),
    [],
  );
  const [folder = ''] = readdirSync(storage);
  const attempts = JSON.parse(readFileSync(join(storage, folder, 'attempts.json'), 'utf8'));
  assert.deepEqual(
    Object.entries<{ failures: number }>(attempts).map(([name, { failures }]) => [name, failures]),
    names.slice(0, 4).map((name) => [name, 0]),
  );

  authority.intercept = () => null;
  const again = startManager(t, authority, { tellWorkers, storage, names });
  await waitFor('all certificates', () => again.manager.certificates.length === 6);
  await waitFor('nothing to be due', () => again.manager.dueCount === 0);
});
