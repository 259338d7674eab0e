import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workerArguments } from '../../../src/primary/workers/fork-worker.ts';

const NO_DEBUGGER = '--disable-sigusr1';

test('workers get the arguments of their primary, no debugger by a signal, and a young generation of 8 MiB unless one was chosen', () => {
  const pools = [{ protocol: 'http1' }] as const;
  assert.deepEqual(workerArguments(pools, [], ''), [NO_DEBUGGER, '--max-semi-space-size=8']);
  const inspected = workerArguments(pools, ['--inspect'], '--no-warnings');
  assert.deepEqual(inspected, ['--inspect', NO_DEBUGGER, '--max-semi-space-size=8']);
  assert.deepEqual(workerArguments(pools, ['--max-semi-space-size=32'], ''), [
    '--max-semi-space-size=32',
    NO_DEBUGGER,
  ]);
  assert.deepEqual(workerArguments(pools, [], '--max_semi_space_size=32'), [NO_DEBUGGER]);
});

test('where a pool speaks HTTP/2 the young generation of a worker is 16 MiB', () => {
  const pools = [{ protocol: 'http1' }, { protocol: 'h2' }] as const;
  assert.deepEqual(workerArguments(pools, [], ''), [NO_DEBUGGER, '--max-semi-space-size=16']);
});
