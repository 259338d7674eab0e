import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { after, before, type TestContext, test } from 'node:test';
import { PrimaryDirectory } from '../../src/primary/clients/primary-directory.ts';
import { EventLog } from '../../src/primary/events/event-log.ts';
import { openStorage } from '../../src/primary/storage.ts';
import { type PostgresServer, startPostgres } from '../support/postgres.ts';
import { within } from '../support/wait.ts';
import { makeMigrated, silent } from './support.ts';

const LOAD_MS = 1_500;
const ROUND_TRIP_MS = 500;

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

/** Resolves with the URL of a way to the database on which each statement takes ROUND_TRIP_MS. */
async function slowWayTo(t: TestContext, url: string): Promise<{ slow: string; open: Set<Socket> }> {
  const open = new Set<Socket>();
  const way = createServer((socket) => {
    const onward = connect(server.port, '127.0.0.1');
    open.add(socket);
    const end = () => {
      open.delete(socket);
      socket.destroy();
      onward.destroy();
    };
    for (const each of [socket, onward]) each.on('error', end).on('close', end);
    socket.on('data', (chunk) => setTimeout(() => onward.write(chunk), ROUND_TRIP_MS));
    onward.pipe(socket);
  });
  await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve));
  t.after(() => way.close());
  const slow = new URL(url);
  slow.port = String((way.address() as { port: number }).port);
  return { slow: slow.href, open };
}

test('a database that takes too long is given up at once, however much of it is still to be read', async (t) => {
  const { url: former } = await makeMigrated(t, server);
  const { url, database } = await makeMigrated(t, server);
  // In parts: each statement has the deadline of the product.
  for (let part = 1; part <= 6; part++) {
    await database.query(
      `insert into clients (client_id) select 'c${part}-' || n from generate_series(1, 5000) n`,
    );
  }
  const { slow, open } = await slowWayTo(t, url);
  const settings = { database: { url: former, embeddedPath: '' }, secrets: { apiKeys: null } };
  const storage = openStorage(settings.database, silent, { purpose: 'a test', lazy: true });
  t.after(() => storage.close());
  const directory = new PrimaryDirectory({ storage, settings, events: new EventLog(silent), logger: silent });
  const refused = assert.rejects(
    directory.prepare({ url: slow, embeddedPath: '' }, LOAD_MS),
    /the new database cannot be read: not within 1\.5 s/,
  );
  await within(refused, LOAD_MS + 4_000, 'the refusal');
  assert.equal(open.size, 0);
});
