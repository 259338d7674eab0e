import assert from 'node:assert/strict';
import { existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ApiKeySecret } from '../../src/clients/api-key-secret.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('no secret is made where its file is a link to nothing', async (t) => {
  const folder = tempFolder(t);
  const path = join(folder, 'api-keys.secret');
  symlinkSync('nowhere', path);
  const secret = new ApiKeySecret({ configured: null, path, logger: { error: () => undefined } });
  await assert.rejects(
    secret.ensure(async () => false),
    { code: 'secret_missing', message: /api-keys\.secret is a link to a file that does not exist/ },
  );
  assert.equal(existsSync(join(folder, 'nowhere')), false);
});
