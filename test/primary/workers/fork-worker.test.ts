import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workerArguments } from '../../../src/primary/workers/fork-worker.ts';

const NO_DEBUGGER = '--disable-sigusr1';

test('workers get the arguments of their primary, no debugger by a signal, and a young generation of 8 MiB unless one was chosen', () => {
  assert.deepEqual(workerArguments([], ''), [NO_DEBUGGER, '--max-semi-space-size=8']);
  const inspected = workerArguments(['--inspect'], '--no-warnings');
  assert.deepEqual(inspected, ['--inspect', NO_DEBUGGER, '--max-semi-space-size=8']);
  assert.deepEqual(workerArguments(['--max-semi-space-size=32'], ''), [
    '--max-semi-space-size=32',
    NO_DEBUGGER,
  ]);
  assert.deepEqual(workerArguments([], '--max_semi_space_size=32'), [NO_DEBUGGER]);
});
