/** Certificates of one machine, beside its folder and the table of all machines. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import { readCertificate } from '../../../src/primary/acme/certificate.ts';
import { AcmeFiles } from '../../../src/primary/acme/files.ts';
import { HeldCertificates } from '../../../src/primary/acme/held-certificates.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { Authority } from '../../support/certificates.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

const NAME = 'one.example';
const authority = new Authority();

/** One machine; the table is what `publish` was last given. */
function makeMachine(
  t: TestContext,
  table: { pem: string },
  storage = tempFolder(t),
  more: Partial<ConstructorParameters<typeof HeldCertificates>[0]> = {},
) {
  const { logger, lines } = keepLog();
  const files = new AcmeFiles(storage, 'https://ca.example/dir');
  const publish = async (_: string, pem: string) => {
    table.pem = pem;
  };
  const held = new HeldCertificates({
    files,
    store: { publish },
    lookMs: 0,
    before: [],
    onChange: () => undefined,
    events: new EventLog(logger),
    logger,
    ...more,
  });
  const look = async () => {
    held.adopt(NAME, table.pem);
    await held.publishNewer();
  };
  return { held, files, lines, look, pem: () => held.get(NAME)?.pem };
}

test('a certificate that TLS refuses replaces none, neither from the table nor from the folder', async (t) => {
  const { cert, key } = authority.issue([NAME]);
  const table = { pem: key + cert };
  const storage = tempFolder(t);
  const machine = makeMachine(t, table, storage);
  await machine.look();
  const weak = new Authority('weak', { isWeak: true });
  const refused = weak.issue([NAME], { notAfter: new Date(Date.now() + 7 * 86_400_000) });
  const pem = refused.key + refused.cert + weak.root.cert;
  table.pem = pem;
  await machine.look();
  assert.equal(machine.pem(), key + cert);
  assert.equal(machine.files.certificatePem(NAME), key + cert);
  assert.equal(table.pem, key + cert, 'the other machines get the sound one back');
  assert.match(JSON.stringify(machine.lines), /cannot be used by TLS: OpenSSL says ca key too small/);
  machine.files.saveCertificate(NAME, pem);
  const { held: again } = makeMachine(t, table, storage);
  again.load(NAME);
  assert.deepEqual(again.all, []);
});

const DAY_MS = 86_400_000;

/** @param begins days from now; so does ends */
function pemOf(begins: number, ends: number): string {
  const at = (days: number) => new Date(Date.now() + days * DAY_MS);
  const { key, cert } = authority.issue([NAME], { notBefore: at(begins), notAfter: at(ends) });
  return key + cert;
}

test('of two certificates all machines serve the newer one, also if it ends earlier, unless it has expired', async (t) => {
  const [old, short, expired] = [pemOf(-3, 30), pemOf(-1, 7), pemOf(-2, -1)];
  for (const [first, second, wanted] of [
    [old, short, short],
    [short, old, short],
    [old, expired, old],
    [expired, old, old],
  ] as const) {
    const table = { pem: first };
    const machines = [makeMachine(t, table), makeMachine(t, table)] as const;
    for (const machine of machines) await machine.look();
    machines[0].held.keep(readCertificate(second, NAME));
    table.pem = second;
    for (const machine of [machines[1], ...machines]) await machine.look();
    assert.deepEqual([table.pem, ...machines.map((machine) => machine.pem())], [wanted, wanted, wanted]);
    for (const machine of machines) assert.equal(machine.files.certificatePem(NAME), wanted);
  }
});

test('the valid certificate of another authority is served until there is one of this authority', async (t) => {
  const storage = tempFolder(t);
  const [old, other, expired, own] = [pemOf(-3, 30), pemOf(-2, 10), pemOf(-2, -1), pemOf(-1, 2)];
  for (const [directory, pem] of [
    ['https://a.example/dir', old],
    ['https://b.example/dir', other],
    ['https://c.example/dir', expired],
    ['https://d.example/dir', 'broken'],
  ] as const)
    new AcmeFiles(storage, directory).saveCertificate(NAME, pem);
  const table = { pem: expired };
  const { held, files, look } = makeMachine(t, table, storage);
  const served = () => held.all.map(({ pem }) => pem);
  held.load(NAME);
  assert.deepEqual([served(), held.get(NAME)], [[other], undefined]);
  await look();
  assert.deepEqual([served(), held.get(NAME)?.pem], [[other], expired], 'an expired one does not replace it');
  held.keep(readCertificate(own, NAME));
  assert.deepEqual(served(), [own]);
  assert.equal(files.certificatePem(NAME), own);
  const again = makeMachine(t, table, storage);
  again.held.load(NAME);
  assert.deepEqual(
    again.held.all.map(({ pem }) => pem),
    [own],
  );
});

test('what was served before a change of acme.storage is served on and kept there, unless the folder has a newer one', (t) => {
  const [old, young] = [pemOf(-3, 30), pemOf(-1, 7)];
  for (const [inFolder, before, wanted] of [
    [null, old, old],
    [old, young, young],
    [young, old, young],
  ] as const) {
    const { held, files, pem } = makeMachine(t, { pem: '' }, tempFolder(t), {
      before: [readCertificate(before, NAME)],
    });
    if (inFolder !== null) files.saveCertificate(NAME, inFolder);
    held.load(NAME);
    assert.equal(pem(), wanted);
    assert.equal(files.certificatePem(NAME), wanted);
  }
  const foreign = { ...readCertificate(young, NAME), isForeign: true };
  const { held, files } = makeMachine(t, { pem: '' }, tempFolder(t), { before: [foreign] });
  held.load(NAME);
  assert.deepEqual([held.all, held.get(NAME), files.certificatePem(NAME)], [[foreign], undefined, null]);
});

test('certificates of other authorities in the table are served for names that have no valid one', (t) => {
  const [old, young, expired] = [pemOf(-3, 30), pemOf(-1, 7), pemOf(-2, -1)];
  const changes: (readonly string[])[] = [];
  const onChange = (all: readonly { pem: string }[]) => changes.push(all.map(({ pem }) => pem));
  const { held, lines } = makeMachine(t, { pem: '' }, tempFolder(t), { onChange });
  held.adoptForeign([old, 'broken', young, expired].map((pem) => ({ name: NAME, pem })));
  assert.deepEqual(changes, [[young]]);
  assert.ok(held.all[0]?.isForeign);
  assert.match(JSON.stringify(lines), /a certificate in the database cannot be used/);
  held.keep(readCertificate(old, NAME));
  held.adoptForeign([{ name: NAME, pem: young }]);
  assert.deepEqual(changes.slice(1), [[old]]);
});

test('machines that judge differently publish a name once per look, however often they wake each other', async (t) => {
  const table = { pem: '' };
  const machine = makeMachine(t, table, tempFolder(t), { lookMs: 10_000 });
  const [own, other] = [pemOf(-1, 7), pemOf(-3, 30)];
  machine.held.keep(readCertificate(own, NAME));
  const clock = t.mock.method(systemClock, 'monotonicMs', () => 0);
  const afterLook = async (): Promise<boolean> => {
    table.pem = other;
    await machine.look();
    return table.pem === own;
  };
  assert.deepEqual([await afterLook(), await afterLook(), await afterLook()], [true, false, false]);
  clock.mock.mockImplementation(() => 10_000);
  assert.equal(await afterLook(), true);
});

test('in acme.storage only the folders of authorities are looked into', (t) => {
  const storage = tempFolder(t);
  mkdirSync(join(storage, 'lost+found'));
  writeFileSync(join(storage, 'lost+found', `${NAME}.pem`), 'broken');
  const { held, lines } = makeMachine(t, { pem: '' }, storage);
  held.load(NAME);
  assert.deepEqual([held.all, lines], [[], []]);
});

test('a folder that cannot be written is an error where no database keeps the certificate', (t) => {
  for (const isShared of [true, false]) {
    const storage = import.meta.filename;
    const { held, lines } = makeMachine(t, { pem: '' }, storage, isShared ? {} : { store: {} });
    held.keep(readCertificate(pemOf(-1, 7), NAME));
    const said = lines.map(({ level, msg }) => [level, msg]);
    assert.deepEqual(said, [
      isShared
        ? [30, 'a certificate is kept in the database alone']
        : [50, 'a certificate is served, but could not be saved'],
    ]);
  }
});
