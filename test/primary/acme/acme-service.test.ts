/** Which certificates are served from the start of a revision on, before anything is ordered. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import type { Settings } from '../../../src/contract/settings.ts';
import { AcmeService } from '../../../src/primary/acme/acme-service.ts';
import type { IssuedCertificate } from '../../../src/primary/acme/certificate.ts';
import { AcmeFiles } from '../../../src/primary/acme/files.ts';
import { AcmeTables } from '../../../src/primary/acme/tables.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { makeMigrated, openDatabase } from '../../postgres/support.ts';
import { Authority } from '../../support/certificates.ts';
import { parseConfig } from '../../support/parse-config.ts';
import { startPostgres } from '../../support/postgres.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

const server = await startPostgres();
after(() => server.remove());

const DIRECTORY = 'https://ca.example/dir';
const NAMES = ['a.example', 'b.example'];
/** A folder cannot be made below it. */
const NOWHERE = join(import.meta.filename, 'acme');

const authority = new Authority();

function pemOf(name: string): string {
  const { key, cert } = authority.issue([name]);
  return key + cert;
}

function settingsOf(storage: string, directory: string, databaseUrl?: string): Settings {
  const acme = { directory, agreeToTerms: true, storage };
  const listen = [{ address: ':8443', tls: { acme: NAMES } }];
  const pools = { app: { backends: [{ url: 'http://127.0.0.1:1' }] } };
  const database = databaseUrl === undefined ? {} : { database: { url: databaseUrl } };
  const loaded = parseConfig(JSON.stringify({ listen, acme, pools, ...database }), {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  return loaded.settings;
}

/** served: what the last call told of each name. */
function makeService(t: TestContext, database: ConstructorParameters<typeof AcmeService>[0]['database']) {
  const { logger, lines } = keepLog();
  let certificates: readonly IssuedCertificate[] = [];
  const service = new AcmeService({
    database,
    briefing: { tellChallenges: () => Promise.resolve() },
    collector: { count: () => undefined },
    onCertificates: (all) => {
      certificates = all;
    },
    events: new EventLog(logger),
    logger,
  });
  t.after(() => service.close());
  return {
    service,
    lines,
    served: () => certificates.map(({ name, pem, isForeign }) => [name, pem, isForeign]),
  };
}

test('certificates that are in the database alone are known before anything starts, those of an authority before too', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const [own, foreign] = [pemOf('a.example'), pemOf('b.example')];
  await new AcmeTables(database, DIRECTORY).publish('a.example', own);
  const before = new AcmeTables(database, 'https://ca.example/before');
  for (const [name, pem] of [
    ['a.example', pemOf('a.example')],
    ['b.example', foreign],
    ['other.example', pemOf('other.example')],
  ] as const)
    await before.publish(name, pem);
  const { service, served } = makeService(t, openDatabase(t, url));
  await service.configure(settingsOf(NOWHERE, DIRECTORY, url));
  assert.deepEqual(served(), [
    ['a.example', own, false],
    ['b.example', foreign, true],
  ]);
  assert.deepEqual(
    await database.read('select from acme_machines'),
    [],
    'no other machine waits for this one',
  );
});

test('a database that is away holds up no start, costs no certificate of the folder, and is one error for all orders', async (t) => {
  const storage = tempFolder(t);
  const pem = pemOf('a.example');
  new AcmeFiles(storage, DIRECTORY).saveCertificate('a.example', pem);
  const url = 'postgres://nobody@127.0.0.1:1/none';
  const { service, served, lines } = makeService(t, openDatabase(t, url));
  await service.configure(settingsOf(storage, DIRECTORY, url));
  assert.deepEqual(served(), [['a.example', pem, false]]);
  assert.match(JSON.stringify(lines), /certificates cannot be shared with other machines/);
  await service.configure(settingsOf(storage, 'https://other.example/dir', url));
  service.start();
  const refused = () => lines.filter(({ msg }) => /order cannot begin/.test(String(msg)));
  await waitFor('both names to be refused', () => refused().length === 2);
  assert.deepEqual(
    refused().map(({ level }) => level),
    [50, 20],
  );
});

test('a reload with another acme.storage keeps the certificates there, one with another authority serves them until it has issued its own', async (t) => {
  const [first, second, third] = [tempFolder(t), tempFolder(t), tempFolder(t)];
  const pem = pemOf('a.example');
  new AcmeFiles(first, DIRECTORY).saveCertificate('a.example', pem);
  const { service, served } = makeService(t, openDatabase(t, 'postgres://nobody@127.0.0.1:1/none'));
  await service.configure(settingsOf(first, DIRECTORY));
  await service.configure(settingsOf(second, DIRECTORY));
  assert.deepEqual(served(), [['a.example', pem, false]]);
  assert.equal(service.dueCount, 1, 'b.example alone');
  assert.deepEqual(service.missing, ['b.example']);
  assert.equal(new AcmeFiles(second, DIRECTORY).certificatePem('a.example'), pem);
  const other = 'https://other.example/dir';
  await service.configure(settingsOf(third, other));
  assert.deepEqual(served(), [['a.example', pem, true]]);
  assert.equal(service.dueCount, 2);
  assert.deepEqual(service.missing, ['b.example'], 'that of the other authority is served');
  await service.configure(settingsOf(first, other));
  assert.deepEqual(served(), [['a.example', pem, true]]);
  assert.equal(new AcmeFiles(first, other).certificatePem('a.example'), null);
});
