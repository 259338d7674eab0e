import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GarbageWatch } from '../../src/worker/garbage-watch.ts';
import { waitFor } from '../support/wait.ts';

test('the time that collecting garbage takes is added up by kind', async () => {
  const watch = new GarbageWatch();
  assert.deepEqual(watch.seconds, { minor: 0, major: 0, incremental: 0, weak: 0 });
  await waitFor('garbage to be collected', () => {
    const kept = Array.from({ length: 10_000 }, (_, i) => ({ i, text: `${i}` }));
    return kept.length > 0 && watch.seconds.minor > 0;
  });
  assert.ok(watch.seconds.minor < 10, `${watch.seconds.minor} s`);
});
