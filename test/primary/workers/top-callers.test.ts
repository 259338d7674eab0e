/** Merging the heavy hitters of several workers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import type { TopCaller, TopPart } from '../../../src/contract/top-callers.ts';
import { TopCallers } from '../../../src/primary/workers/top-callers.ts';
import { FakeTime } from '../../support/fake-time.ts';

type Link = ReturnType<ConstructorParameters<typeof TopCallers>[0]>[number];

const caller = (name: string, requestsPerSec: number, limitedPerSec = 0): TopCaller => ({
  ...{ name, isClient: false, requestsPerSec, limitedPerSec },
});
const worker = (items: TopCaller[], totalPerSec = 100, errorPerSec = 0.5): Link => ({
  ask: (async () => ({ items, totalPerSec, errorPerSec }) satisfies TopPart) as never,
});
const silent: Link = { ask: () => Promise.reject(new LbError('worker_timeout', 'late')) };

test('rates of a caller, totals and errors are added, and the highest come first', async () => {
  const links = [
    worker([caller('a', 10, 4), caller('b', 9), caller('c', 1, 1)]),
    worker([caller('b', 5), caller('a', 2, 0.5)]),
  ];
  const top = new TopCallers(() => links);
  const { items, ...rest } = await top.top('requests', 2);
  assert.deepEqual(items, [caller('b', 14), caller('a', 12, 4.5)]);
  assert.deepEqual(rest, { totalPerSec: 200, errorPerSec: 1, silentWorkers: 0 });
  assert.deepEqual(
    (await top.top('limited', 2)).items.map(({ name }) => name),
    ['a', 'c'],
  );
});

test('a worker that is silent is left out and told; where all are, it is an error', async () => {
  const top = new TopCallers(() => [silent, worker([caller('a', 1)])]);
  const { items, silentWorkers } = await top.top('requests', 5);
  assert.deepEqual([items.length, silentWorkers], [1, 1]);
  await assert.rejects(new TopCallers(() => [silent]).top('requests', 5), { code: 'worker_timeout' });
  assert.deepEqual((await new TopCallers(() => []).top('requests', 5)).items, []);
});

test('who asks within a second, or while an ask is under way, shares the answer; the limit is of each call', async () => {
  const time = new FakeTime();
  const asked: string[] = [];
  const link: Link = {
    ask: async (type, timeoutMs, question) => {
      asked.push((question(1) as { by: string }).by);
      return worker([caller('a', 2), caller('b', 1)]).ask(type, timeoutMs, question);
    },
  };
  const top = new TopCallers(() => [link], time.clock);
  const views = await Promise.all([1, 2, 5].map((limit) => top.top('requests', limit)));
  assert.deepEqual(
    views.map(({ items }) => items.length),
    [1, 2, 2],
  );
  time.nowMs = 999;
  await top.top('requests', 1);
  await top.top('limited', 1);
  assert.deepEqual(asked, ['requests', 'limited']);
  time.nowMs = 1_000;
  await top.top('requests', 1);
  assert.deepEqual(asked, ['requests', 'limited', 'requests']);
});
