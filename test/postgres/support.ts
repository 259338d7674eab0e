/** For the tests of PostgreSQL: a silent logger and migrated databases. */
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { ClientRepository } from '../../src/clients/client-repository.ts';
import { migrate } from '../../src/infra/postgres/migrations.ts';
import { Database, type DatabaseOptions } from '../../src/infra/postgres/postgres.ts';
import { makeDatabase, type PostgresServer } from '../support/postgres.ts';

export const silent = pino({ level: 'silent' });

export const INPUT = { mode: 'limit', capacity: null, refillPerSecond: null, limits: {} } as const;

/** openDatabase opens a pool that the test closes. */
export function openDatabase(t: TestContext, url: string, options: Partial<DatabaseOptions> = {}): Database {
  const database = new Database({ target: { kind: 'url', url }, logger: silent, ...options });
  t.after(() => database.close());
  return database;
}

/** makeMigrated makes an empty, migrated database for one test. */
export async function makeMigrated(t: TestContext, server: Pick<PostgresServer, 'url'>) {
  const url = await makeDatabase(server);
  const database = openDatabase(t, url);
  await migrate(database, 'up', { logger: silent });
  return { url, database, repository: new ClientRepository(database) };
}

/** insertKeys gives acme the keys 1…count, signed with a secret that nobody has. */
export async function insertKeys(database: Database, count: number): Promise<void> {
  await database.query(
    `insert into api_keys (key_id, client_id, digest, secret_id)
     select lpad(to_hex(n), 24, '0'), 'acme', decode(lpad(to_hex(n), 64, '0'), 'hex'), 'foreign' from generate_series(1, $1) n`,
    [count],
  );
}
