/** When clients were last seen, of several workers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { SEEN_PART_MAX } from '../../../src/contract/messages.ts';
import { LastSeen } from '../../../src/primary/workers/last-seen.ts';

type Link = ReturnType<ConstructorParameters<typeof LastSeen>[0]>[number];

const SEC = Date.parse('2026-12-01T06:00:00Z') / 1000;

const worker = (seenSecs: number[]): Link => ({ ask: (async () => ({ seenSecs })) as never });
const failing = (code: 'worker_timeout' | 'worker_gone'): Link => ({
  ask: () => Promise.reject(new LbError(code, 'none')),
});

test('the newest time of all workers counts, to the second; null: none has seen the client', async () => {
  const seen = new LastSeen(() => [
    worker([SEC, 0, 0]),
    worker([SEC - 9, SEC + 1, 0]),
    failing('worker_gone'),
  ]);
  assert.deepEqual(
    [...(await seen.of(['a', 'b', 'c']))],
    [
      ['a', '2026-12-01T06:00:00Z'],
      ['b', '2026-12-01T06:00:01Z'],
      ['c', null],
    ],
  );
});

test('where a worker is silent, what the others have seen is told, and nothing of the rest', async () => {
  const seen = new LastSeen(() => [worker([SEC, 0]), failing('worker_timeout')]);
  assert.deepEqual([...(await seen.of(['a', 'b'])).keys()], ['a']);
  assert.deepEqual([...(await seen.of([]))], []);
});

test('one ask is under way, and one waits for it, with the clients of all who have come meanwhile', async () => {
  const asked: string[][] = [];
  const gates: (() => void)[] = [];
  const link: Link = {
    ask: (async (_type: string, _ms: number, question: (id: number) => { clientIds: string[] }) => {
      asked.push(question(1).clientIds);
      await new Promise<void>((resolve) => gates.push(resolve));
      return { seenSecs: asked.at(-1)!.map(() => SEC) };
    }) as never,
  };
  const seen = new LastSeen(() => [link]);
  const first = seen.of(['a']);
  const waiting = [seen.of(['b', 'c']), seen.of(['c', 'd'])];
  const tooMany = await seen.of(Array.from({ length: SEEN_PART_MAX }, (_, i) => `x${i}`));
  assert.equal(tooMany.size, 0);
  assert.deepEqual(asked, [['a']]);
  gates.shift()?.();
  assert.deepEqual([...(await first).keys()], ['a']);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(asked, [['a'], ['b', 'c', 'd']]);
  gates.shift()?.();
  for (const answer of await Promise.all(waiting)) assert.equal(answer.size, 3);
  const last = seen.of(['e']);
  assert.equal(asked.length, 3);
  gates.shift()?.();
  assert.equal((await last).size, 1);
});
