/** What workers are told about TLS. */
import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TlsMaterial } from '../../../src/contract/tls.ts';
import type { Logger } from '../../../src/infra/logging/logger.ts';
import { readCertificate } from '../../../src/primary/acme/certificate.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { TlsKeeper } from '../../../src/primary/tls/tls-keeper.ts';
import { Authority, type IssueOptions } from '../../support/certificates.ts';
import { parseConfig } from '../../support/parse-config.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';

const authority = new Authority();

const DAY_MS = 24 * 3_600_000;

const daysLeft = (keeper: TlsKeeper) =>
  keeper.validities().map(([name, { notAfterMs }]) => [name, Math.round((notAfterMs - Date.now()) / DAY_MS)]);

function start(tls: object | null, lookEveryMs?: number) {
  const listen = [{ address: ':8080' }, ...(tls === null ? [] : [{ address: ':8443', tls }])];
  const acme = { directory: 'https://acme.test/', agreeToTerms: true, storage: authority.folder };
  const pools = { app: { backends: [{ url: 'http://127.0.0.1:1' }] } };
  const text = JSON.stringify({ listen, acme, pools });
  const loaded = parseConfig(text, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  const told: TlsMaterial[] = [];
  const lines: string[] = [];
  const logger = {
    info: (_facts: object, line: string) => lines.push(line),
    warn: (_facts: object, line: string) => lines.push(line),
    error: (_facts: object, line: string) => lines.push(line),
  } as unknown as Logger;
  const keeper = new TlsKeeper({
    settings: loaded.settings,
    events: new EventLog(logger),
    tell: (material) => told.push(material),
    ...(lookEveryMs !== undefined && { lookEveryMs }),
  });
  keeper.start();
  return { keeper, told, lines, settings: loaded.settings };
}

test('workers get certificates with their names, and 48 bytes of ticket keys that a rotation replaces', (t) => {
  const own = authority.issue(['a.test', 'b.test']);
  const { keeper, told } = start({ certificates: [{ cert: own.certPath, key: own.keyPath }] });
  t.after(() => keeper.close());
  const [first] = told;
  assert.equal(first?.addresses[0]?.address, ':8443');
  assert.deepEqual(first?.addresses[0]?.certificates, [
    { cert: own.cert, key: own.key, names: ['a.test', 'b.test'] },
  ]);
  assert.equal(Buffer.from(first?.ticketKeys ?? '', 'base64').length, 48);
  keeper.rotate();
  assert.notEqual(told[1]?.ticketKeys, first?.ticketKeys);
  assert.deepEqual(told[1]?.addresses, first?.addresses);
});

test('certificates by ACME are in the order of their names in the file: the first is the default', (t) => {
  const { keeper, told } = start({ acme: ['b.test', 'c.test', 'a.test'] });
  t.after(() => keeper.close());
  const issued = ['a.test', 'b.test', 'other.test'].map((name) => {
    const { key, cert } = authority.issue([name]);
    return readCertificate(key + cert, name);
  });
  keeper.useIssued(issued);
  const names = told.at(-1)?.addresses[0]?.certificates.flatMap((each) => each.names);
  assert.deepEqual(names, ['b.test', 'a.test']);
});

test('of two certificates with one first name the shorter time counts', (t) => {
  const pairs = [2, 1].map((days) =>
    authority.issue(['a.test'], { notAfter: new Date(Date.now() + days * DAY_MS) }),
  );
  const { keeper } = start({
    certificates: pairs.map(({ certPath: cert, keyPath: key }) => ({ cert, key })),
  });
  t.after(() => keeper.close());
  assert.deepEqual(daysLeft(keeper), [['a.test', 1]]);
});

test('a name in acme has its certificate from a file until a valid one is fetched; then the file serves its other names, if any', (t) => {
  const [both, one] = [authority.issue(['a.test', 'b.test']), authority.issue(['a.test'])];
  const { keeper, told } = start({
    certificates: [one, both].map(({ certPath: cert, keyPath: key }) => ({ cert, key })),
    acme: ['a.test'],
  });
  t.after(() => keeper.close());
  const served = () => told.at(-1)?.addresses[0]?.certificates.map(({ cert, names }) => [cert, names]);
  const files = [
    [one.cert, ['a.test']],
    [both.cert, ['a.test', 'b.test']],
  ];
  assert.deepEqual(served(), files);
  const issue = (notBefore: Date, notAfter: Date) => {
    const { cert, key } = authority.issue(['a.test'], { notBefore, notAfter });
    return readCertificate(key + cert, 'a.test');
  };
  const at = (days: number) => new Date(Date.now() + days * DAY_MS);
  const expired = issue(at(-9), at(-1));
  keeper.useIssued([expired]);
  assert.deepEqual(served(), files);
  const valid = issue(at(-1), at(9));
  keeper.useIssued([valid]);
  // In the place of the file: the default stays one for this name.
  assert.deepEqual(served(), [
    [valid.chainPem, ['a.test']],
    [both.cert, ['b.test']],
  ]);
  assert.deepEqual(daysLeft(keeper), [
    ['a.test', 9],
    ['b.test', 1],
  ]);
});

test('the certificate of another authority, or an expired one, never takes the place of a valid file', (t) => {
  const at = (days: number) => new Date(Date.now() + days * DAY_MS);
  const issue = (names: string[], days: number) =>
    authority.issue(names, { notBefore: at(-9), notAfter: at(days) });
  const read = (name: string, days: number) => {
    const { cert, key } = issue([name], days);
    return readCertificate(key + cert, name);
  };
  const [exact, wildcard] = [issue(['a.test'], 1), issue(['*.test'], 1)];
  const { keeper, told } = start({
    certificates: [exact, wildcard].map(({ certPath: cert, keyPath: key }) => ({ cert, key })),
    acme: ['a.test', 'b.test', 'c.example'],
  });
  t.after(() => keeper.close());
  const served = () => told.at(-1)?.addresses[0]?.certificates.map(({ cert }) => cert);
  const files = [exact.cert, wildcard.cert];
  const own = ['a.test', 'b.test', 'c.example'].map((name) => read(name, 9));
  const foreign = own.map((each) => ({ ...each, isForeign: true }));
  keeper.useIssued(foreign);
  assert.deepEqual(served(), [...files, foreign[2]?.chainPem], 'c.example is in no file');
  keeper.useIssued([read('b.test', -1)]);
  assert.deepEqual(served(), files);
  keeper.useIssued(own);
  assert.deepEqual(served(), [own[0]?.chainPem, wildcard.cert, own[1]?.chainPem, own[2]?.chainPem]);
  const laterMs = at(2).getTime();
  // The files have expired.
  t.mock.method(Date, 'now', () => laterMs);
  keeper.useIssued(foreign);
  assert.deepEqual(served()?.slice(0, 1), [foreign[0]?.chainPem]);
});

test('a file that has expired keeps no name for which another is valid', (t) => {
  const issue = (names: string[], days: number) =>
    authority.issue(names, { notAfter: new Date(Date.now() + days * DAY_MS) });
  const [old, renewed, wildcard] = [
    issue(['a.test', 'only.old'], 1),
    issue(['a.test'], 9),
    issue(['*.test'], 9),
  ];
  const stale = issue(['b.test'], 1);
  const certificates = [old, renewed, wildcard, stale].map(({ certPath: cert, keyPath: key }) => ({
    cert,
    key,
  }));
  const { keeper, told } = start({ certificates });
  t.after(() => keeper.close());
  const laterMs = Date.now() + 2 * DAY_MS;
  t.mock.method(Date, 'now', () => laterMs);
  keeper.rotate();
  assert.deepEqual(
    told.at(-1)?.addresses[0]?.certificates.map(({ names }) => names),
    [['only.old'], ['a.test'], ['*.test']],
  );
});

test('where the certificate in force ends, a valid one for its names takes its place at once', async (t) => {
  const file = authority.issue(['a.test']);
  const certificates = [{ cert: file.certPath, key: file.keyPath }];
  const { keeper, told, lines } = start({ certificates, acme: ['a.test'] }, 20);
  t.after(() => keeper.close());
  const { cert, key } = authority.issue(['a.test'], { notAfter: new Date(Date.now() + 2_000) });
  keeper.useIssued([readCertificate(key + cert, 'a.test')]);
  const served = () => told.at(-1)?.addresses[0]?.certificates.map((each) => each.cert);
  assert.deepEqual(served(), [cert.trim()]);
  await waitFor('the file', () => served()?.[0] === file.cert);
  assert.equal(told.length, 3, 'workers are told once');
  assert.ok(!lines.includes('certificates were read again'), 'the files did not change');
});

test('a certificate by ACME that ends soon is warned of when it comes into force, and at a reload', (t) => {
  const { keeper, lines, settings } = start({ acme: ['a.test'] });
  t.after(() => keeper.close());
  const issue = (days: number) => {
    const { key, cert } = authority.issue(['a.test'], { notAfter: new Date(Date.now() + days * DAY_MS) });
    return readCertificate(key + cert, 'a.test');
  };
  keeper.useIssued([issue(90)]);
  assert.deepEqual(lines, []);
  const last = issue(0.01);
  for (let i = 0; i < 2; i++) keeper.useIssued([last]);
  assert.equal(lines.length, 1, 'it is said once');
  assert.match(lines[0] ?? '', /^the certificate expires on /);
  keeper.configure(settings);
  assert.equal(lines.length, 2);
});

test('certificates that are read again and are not valid yet, or no longer, are warned of', async (t) => {
  const folder = tempFolder(t);
  const paths = { cert: join(folder, 'tls.pem'), key: join(folder, 'tls.key') };
  const clientCa = join(folder, 'ca.pem');
  const put = (dates: IssueOptions) => {
    const { certPath, keyPath } = authority.issue(['a.test'], dates);
    copyFileSync(certPath, paths.cert);
    copyFileSync(keyPath, paths.key);
  };
  put({});
  copyFileSync(authority.root.certPath, clientCa);
  const { keeper, lines } = start({ certificates: [paths], clientAuth: 'require', clientCa }, 50);
  t.after(() => keeper.close());
  const at = (days: number) => new Date(Date.now() + days * DAY_MS);
  put({ notBefore: at(1), notAfter: at(9) });
  await waitFor('the first warning', () =>
    lines.some((line) => /^the certificate is not valid before/.test(line)),
  );
  copyFileSync(authority.issue(['old'], { notBefore: at(-9), notAfter: at(-1) }).certPath, clientCa);
  await waitFor('the second warning', () =>
    lines.some((line) => /^the certificate has expired on .*ca\.pem$/.test(line)),
  );
  writeFileSync(clientCa, 'nothing');
  await waitFor('the refusal', () =>
    lines.includes('changed certificates cannot be used, the old ones stay'),
  );
  assert.match(keeper.fault ?? '', /ca\.pem/);
});

test('without TLS nobody is told anything', () => {
  const { told } = start(null);
  assert.deepEqual(told, []);
});
