import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';

const FIXTURE = fileURLToPath(new URL('./fixtures/stopped-primary.ts', import.meta.url));

test('for a primary that does not read, 2,000 messages wait; takes beyond are refused at once, and answers are sent', async () => {
  const { code, stdout, stderr } = await runToEnd(process.execPath, [FIXTURE]);
  assert.equal(code, 0, stderr.join('\n'));
  const said = Object.assign({}, ...stdout.map((line) => JSON.parse(line)));
  // Those that the pipe holds wait in the kernel.
  assert.ok(said.accepted >= 2_000 && said.accepted < 10_000, JSON.stringify(said));
  assert.deepEqual([said.failure, said.answers, said.later], [false, 100, true]);
  const expected = {
    'bucket-takes': said.accepted,
    'connection-taken': 100,
    drained: 1,
    'connect-failure': 1,
  };
  assert.deepEqual(said.heard, expected, 'all that was accepted arrives');
});
