import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workerArguments } from '../../../src/primary/workers/worker-arguments.ts';

test('workers get the arguments of their primary and a young generation of 8 MiB, unless one was chosen', () => {
  assert.deepEqual(workerArguments([], ''), ['--max-semi-space-size=8']);
  assert.deepEqual(workerArguments(['--inspect'], '--no-warnings'), ['--inspect', '--max-semi-space-size=8']);
  assert.deepEqual(workerArguments(['--max-semi-space-size=32'], ''), ['--max-semi-space-size=32']);
  assert.deepEqual(workerArguments([], '--max_semi_space_size=32'), []);
});
