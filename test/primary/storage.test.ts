import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStorage } from '../../src/primary/storage.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { keepLog } from './workers/fixtures/harness.ts';

test('a stop while the embedded database still starts is no failure of it', async (t) => {
  const folder = tempFolder(t);
  const { logger, lines } = keepLog();
  const settings = { url: null, embeddedPath: join(folder, 'postgres') };
  const storage = openStorage(settings, logger, { purpose: 'a test', lazy: true });
  const asked = storage.database.query('select 1').catch(() => undefined);
  await storage.close();
  await asked;
  await assert.rejects(storage.ready, { code: 'database_unavailable' });
  assert.deepEqual(
    lines.filter(({ level }) => Number(level) > 30),
    [],
  );
});
