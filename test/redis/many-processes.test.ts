import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { startRedis } from '../support/redis.ts';
import { within } from '../support/wait.ts';

const PROCESSES = 8;
const ROUNDS = 20;

async function answerOf(child: ChildProcess): Promise<unknown> {
  const [message] = await within(once(child, 'message'), 20_000, `process ${child.pid} to answer`);
  return message;
}

test('B30: 8 processes admit exactly 100 of 2,000 takes at once, round after round', {
  timeout: 120_000,
}, async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const children = Array.from({ length: PROCESSES }, () =>
    fork(new URL('./take-process.ts', import.meta.url), [server.url]),
  );
  t.after(() => Promise.all(children.map(stop)));
  await Promise.all(children.map(answerOf));
  for (let round = 1; round <= ROUNDS; round++) {
    const answers = children.map(answerOf);
    for (const child of children) child.send({ round, takes: 2_000 / PROCESSES });
    const results = (await Promise.all(answers)) as { admitted: number; local: number }[];
    const sum = (of: 'admitted' | 'local'): number =>
      results.reduce((total, result) => total + result[of], 0);
    assert.deepEqual([sum('admitted'), sum('local')], [100, 0], `round ${round}`);
  }
});

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.send('stop');
  await within(gone, 5_000, `process ${child.pid} to end`).catch(() => child.kill('SIGKILL'));
}
