/** A command whose call is the first to need the embedded database. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../src/contract/errors.ts';
import { startAdmin } from '../primary/admin/harness.ts';
import { runSluice } from '../support/run-sluice.ts';

test('a command waits for the embedded database, and says so when it takes long', async (t) => {
  const { url, parts } = await startAdmin(t);
  const { clients } = parts.directory;
  const list = clients.list.bind(clients);
  let failures = 4;
  clients.list = async (page) => {
    if (failures-- > 0) throw new LbError('database_starting', 'the embedded database is starting');
    return list(page);
  };
  assert.deepEqual(await runSluice(t, ['clients', 'list', '--admin', url]), {
    ...{ code: 0, out: 'no clients' },
    err: 'sluice: the embedded database is starting: waiting for it',
  });
  clients.list = async () => {
    throw new LbError('database_unavailable', 'it does not start');
  };
  const failed = await runSluice(t, ['clients', 'list', '--admin', url]);
  assert.deepEqual([failed.code, failed.err], [1, 'sluice: the database cannot be reached (503)']);
});
