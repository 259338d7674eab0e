/** A database full of clients for `make bench-directory`: a PostgreSQL server, or the folder of the embedded database. */
import pg from 'pg';
import { pino } from 'pino';
import { EmbeddedPostgres } from '../../src/infra/postgres/embedded-postgres.ts';
import { migratedDatabase, startPostgres } from '../../test/support/postgres.ts';
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import { insertClients } from './directory-data.ts';

export interface FullDatabase {
  /** The section `database` of the configuration. */
  readonly config: object;
  /** A second connection; null: the embedded database allows none while Sluice runs. */
  readonly other: pg.Client | null;
  close(): Promise<void>;
}

const silent = pino({ level: 'silent' });
const FILL_MS = 900_000;

export async function serverWith(count: number): Promise<FullDatabase> {
  // Debian's default. The default of the tests is smaller than the table.
  const server = await startPostgres({ settings: { shared_buffers: '128MB' } });
  const url = await migratedDatabase(server);
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await insertClients(other, count);
  return {
    config: { url },
    other,
    close: async () => {
      await other.end();
      await server.remove();
    },
  };
}

export async function embeddedWith(count: number): Promise<FullDatabase> {
  const folder = makeTempFolder('sluice-directory-');
  const embedded = new EmbeddedPostgres({ folder, purpose: 'the bench', logger: silent });
  await embedded.ready;
  await embedded.database.migrating(FILL_MS, (client) => insertClients(client, count));
  await embedded.close();
  return {
    config: { embeddedPath: folder },
    other: null,
    close: () => Promise.resolve(removeTempFolder(folder)),
  };
}
