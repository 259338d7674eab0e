import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { test } from 'node:test';
import { sluiceVersion } from '../../src/infra/build-info.ts';

test('the version is that with which the process began, also while an update replaces or removes package.json', (t) => {
  const version = sluiceVersion();
  assert.match(version, /^\d+\.\d+\.\d+/);
  const read = t.mock.method(fs, 'readFileSync', () => '{"version":"99.0.0"}');
  syncBuiltinESMExports();
  t.after(() => {
    read.mock.restore();
    syncBuiltinESMExports();
  });
  assert.equal(sluiceVersion(), version);
});
