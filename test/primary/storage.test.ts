import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStorage } from '../../src/primary/storage.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { keepLog } from './workers/fixtures/harness.ts';

test('a stop while the embedded database still starts is no failure of it', async (t) => {
  const folder = tempFolder(t);
  const { logger, lines } = keepLog();
  const storage = openStorage({ url: null, embeddedPath: join(folder, 'postgres') }, logger);
  const asked = storage.database.query('select 1').catch(() => undefined);
  await storage.close();
  await asked;
  await storage.opened;
  assert.deepEqual(
    lines.filter(({ level }) => Number(level) > 30),
    [],
  );
});
