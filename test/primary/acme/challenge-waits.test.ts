/** How long an order waits for the other machines to know its challenge. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import type { Database } from '../../../src/infra/postgres/postgres.ts';
import { AcmeSharing } from '../../../src/primary/acme/sharing.ts';
import { AcmeTables } from '../../../src/primary/acme/tables.ts';
import { makeMigrated, openDatabase } from '../../postgres/support.ts';
import { startPostgres } from '../../support/postgres.ts';
import { within } from '../../support/wait.ts';
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
    onMissing: () => undefined,
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
  await own.sharing.openChallenge(CHALLENGE, new AbortController().signal);
  assert.deepEqual([other.told, own.lines], [['a'], []]);
});

/** A machine with an order, beside one that never notes a challenge. */
async function besideDeaf(t: TestContext, lookMs: number) {
  const { database } = await makeMigrated(t, server);
  const own = makeSharing(t, database, lookMs);
  await own.tables.noteMachine(randomUUID(), []);
  return own;
}

test('the wait for other machines ends with the order', async (t) => {
  const { sharing } = await besideDeaf(t, 600_000);
  const order = new AbortController();
  const opened = sharing.openChallenge(CHALLENGE, order.signal);
  order.abort();
  await assert.rejects(within(opened, 10_000, 'openChallenge'), { name: 'AbortError' });
});

test('a slow database makes the wait for other machines no longer', async (t) => {
  const { sharing, tables, lines } = await besideDeaf(t, 10_000);
  let nowMs = 0;
  t.mock.method(systemClock, 'monotonicMs', () => nowMs);
  const asked = t.mock.method(tables, 'isKnownEverywhere', async () => {
    nowMs += 5_000;
    return false;
  });
  await sharing.openChallenge(CHALLENGE, new AbortController().signal);
  assert.equal(asked.mock.callCount(), 3);
  assert.match(JSON.stringify(lines), /not every machine has taken over/);
});
