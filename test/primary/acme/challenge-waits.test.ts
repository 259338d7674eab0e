/** How long an order waits for the other machines to know its challenge. */
import assert from 'node:assert/strict';
import { after, type TestContext, test } from 'node:test';
import type { Database } from '../../../src/infra/postgres/postgres.ts';
import { AcmeSharing } from '../../../src/primary/acme/sharing.ts';
import { AcmeTables } from '../../../src/primary/acme/tables.ts';
import { makeMigrated, openDatabase } from '../../postgres/support.ts';
import { startPostgres } from '../../support/postgres.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

const server = await startPostgres();
after(() => server.remove());

const CHALLENGE = { token: 'a', keyAuthorization: 'x' };

/** A machine without certificates, which the test closes. @param lookMs between two looks */
function makeSharing(t: TestContext, database: Database, lookMs: number) {
  const { logger, lines } = keepLog();
  const tables = new AcmeTables(database, 'https://ca.example/dir');
  const told: string[] = [];
  const sharing = new AcmeSharing({
    database,
    tables,
    names: [],
    tellWorkers: async (challenges) => void told.push(...challenges.map(({ token }) => token)),
    onCertificate: () => undefined,
    onOthers: () => undefined,
    onLooked: async () => undefined,
    lookMs,
    logger,
  });
  t.after(() => sharing.close());
  return { sharing, tables, told, lines };
}

test('a challenge waits for the next look of a machine that hears no notices', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const deaf = openDatabase(t, url);
  t.mock.method(deaf, 'listen', () => () => undefined);
  const lookMs = 6_000;
  const other = makeSharing(t, deaf, lookMs);
  await other.sharing.start();
  const own = makeSharing(t, database, lookMs);
  await own.sharing.openChallenge(CHALLENGE);
  assert.deepEqual([other.told, own.lines], [['a'], []]);
});
