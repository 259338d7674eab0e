import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { migrate } from '../../../src/infra/postgres/migrations.ts';
import { RequestTable } from '../../../src/primary/audit/request-table.ts';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { auditRow } from '../../../src/proxy/audit-row.ts';
import { openDatabase, silent } from '../../postgres/support.ts';
import { makeDatabase, type PostgresServer, startPostgres } from '../../support/postgres.ts';
import { makeTempFolder } from '../../support/temp-folder.ts';

const PRODUCT = join(import.meta.dirname, '../../../migrations');

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

test('the step for the status of gRPC builds no index on the days that are there, those after it have it, and a status is found in both', async (t) => {
  const database = openDatabase(t, await makeDatabase(server));
  const before = makeTempFolder();
  cpSync(PRODUCT, before, { recursive: true, filter: (file) => !file.includes('0006_') });
  await migrate(database, 'up', { logger: silent, folder: before });
  const old = 'audit_requests_20261130';
  await database.query(
    `create table ${old} partition of audit_requests for values from ('2026-11-30T00:00Z') to ('2026-12-01T00:00Z')`,
  );
  await database.query(
    `insert into audit_requests select '2026-11-30T12:00Z', 'old', i, 'r', '192.0.2.1', null, 'GET', 'h', '/', 200,
       case when i = 7 then 'upstream_reset' else 'ok' end, 0, 0, 1, 'b', 'r', null from generate_series(1, 100) i`,
  );
  const indexesOf = async (name: string) =>
    (
      await database.query('select indexdef from pg_indexes where tablename = $1 order by indexname', [name])
    ).map(({ indexdef }) => String(indexdef));
  const indexes = await indexesOf(old);
  await migrate(database, 'up', { logger: silent });
  assert.deepEqual(await indexesOf(old), indexes);

  const requests = new RequestTable(database);
  const record = Object.assign(new AccessRecord('192.0.2.1', 'GET'), {
    ...{ time: '2026-12-01T12:00:00.000Z', requestId: 'r', status: 200, reason: 'ok', grpcStatus: 13 },
  });
  await requests.write({ days: new Set(['2026-12-01']), text: auditRow(record, 1) });
  const made = (await indexesOf('audit_requests_20261201')).filter((text) => text.includes('grpc_status'));
  assert.equal(made.length, 1);
  assert.match(made[0]!, /\(at, instance, number\) WHERE .*reason/);
  const { items } = await requests.page({ limit: 10, after: null, status: { from: 500, to: 599 } });
  assert.deepEqual(
    items.map(({ reason, grpcStatus }) => [reason, grpcStatus]),
    [
      ['ok', 13],
      ['upstream_reset', null],
    ],
  );
  const names = await database.query(
    "select from pg_class where relname like 'audit_requests%' and relkind = 'i' and not relispartition",
  );
  assert.equal(names.length, 0, 'an index that does not go with that of its table');
  const { changed } = await migrate(database, 'down', { logger: silent });
  assert.deepEqual(changed, ['0006_audit_grpc_status']);
  assert.equal(
    (await indexesOf('audit_requests_20261201')).filter((text) => text.includes('reason')).length,
    0,
  );
});
