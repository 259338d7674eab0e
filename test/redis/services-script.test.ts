/** Here and not in test/repository: a run without services must neither need nor install them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';

test('services.sh is silent where everything is there', async () => {
  const cwd = fileURLToPath(new URL('../../', import.meta.url));
  const present = await runToEnd('scripts/services.sh', [], { cwd });
  assert.deepEqual(present, { code: 0, signal: null, stdout: [], stderr: [] });
});
