/** Not in test/repository, because a run without services must not install them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';

test('services.sh prints nothing if everything is installed', async () => {
  const cwd = fileURLToPath(new URL('../../', import.meta.url));
  const present = await runToEnd('scripts/services.sh', [], { cwd });
  assert.deepEqual(present, { code: 0, signal: null, stdout: [], stderr: [] });
});
