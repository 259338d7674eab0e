import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TakeRequest } from '../../../src/contract/buckets.ts';
import { systemClock } from '../../../src/contract/clock.ts';
import { LbError } from '../../../src/contract/errors.ts';
import { parsePrimaryMessage, parseWorkerMessage } from '../../../src/contract/messages.ts';
import { PLAIN_TAKE } from '../../../src/limit/store/bucket-store.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import {
  type BucketTakesMessage,
  PrimaryBucketStore,
} from '../../../src/limit/store/primary-bucket-store.ts';
import { waitFor } from '../../support/wait.ts';
import { allowed, makeLimiter, STORE_CALLS, TIMEOUT_MS, takeMany } from '../limiter/limiter-lab.ts';

const take: TakeRequest = {
  key: '{hash}:default',
  capacity: 10,
  rateMicro: 1,
  versionUs: 1,
  need: 1,
  partial: true,
  ...PLAIN_TAKE,
};

function makeLink() {
  const sent: BucketTakesMessage[] = [];
  const link = { answers: false };
  const store = new PrimaryBucketStore((message) => {
    sent.push(message);
    if (link.answers) void answer(message);
    return true;
  });
  const host = new MemoryBucketStore(systemClock);
  /** Answers one message as the primary does, through both ends' parsers. */
  const answer = async (message: BucketTakesMessage | undefined): Promise<void> => {
    const received = parseWorkerMessage(JSON.parse(JSON.stringify(message)));
    assert.ok(received?.type === 'bucket-takes');
    const replies = await host.takeBatch(received.takes);
    const reply = parsePrimaryMessage({ type: 'bucket-replies', id: received.id, replies });
    assert.ok(reply?.type === 'bucket-replies');
    store.onReplies(reply);
  };
  return { answer, link, sent, store };
}

function codesOf(results: unknown[]): (string | null)[] {
  return results.map((result) => (result instanceof LbError ? result.code : null));
}

test('the primary’s store matches replies to batches by number, in any order', async () => {
  const { answer, sent, store } = makeLink();
  const first = store.takeBatch([{ ...take, need: 3 }, take]);
  const second = store.takeBatch([{ ...take, need: 100 }]);
  await answer(sent[1]);
  await answer(sent[0]);
  const granted = [...(await first), ...(await second)].map(
    (reply) => reply instanceof Error || reply.granted,
  );
  assert.deepEqual(granted, [0, 0, 10]);
});

test('a limiter gives up a call of the primary’s store at its deadline, drops the late reply, and asks again', async () => {
  const { answer, link, sent, store } = makeLink();
  const { limiter, metric } = makeLimiter({ store });
  const startMs = performance.now();
  const decisions = await takeMany(limiter, 2);
  assert.deepEqual(
    decisions.map(({ source }) => source),
    ['local', 'local'],
  );
  assert.ok(performance.now() - startMs >= TIMEOUT_MS);
  await waitFor('the call to be given up', () => metric(STORE_CALLS, 'timeout') === 1);
  assert.equal(limiter.breakerOpen, true, 'the store said nothing');
  await answer(sent[0]);
  await waitFor('a probe', () => sent.length >= 2);
  assert.equal(limiter.breakerOpen, true, 'the late reply counts for nothing');
  link.answers = true;
  await waitFor('a probe to be heard', () => !limiter.breakerOpen);
  const [decision] = await takeMany(limiter, 1);
  assert.deepEqual(
    [decision?.source, decision?.remaining],
    ['store', 97],
    'the late reply’s tokens are lost',
  );
  await limiter.close();
});

test('the primary’s store drops the oldest of too many unanswered messages', async () => {
  const { answer, sent, store } = makeLink();
  let settled = false;
  void store.takeBatch([take]).then(() => {
    settled = true;
  });
  for (let i = 0; i < 4_096; i++) void store.takeBatch([]);
  const last = store.takeBatch([take]);
  await answer(sent[0]);
  await answer(sent.at(-1));
  assert.deepEqual(codesOf(await last), [null]);
  assert.equal(settled, false);
});

test('the primary’s store reports failed takes, unexpected replies and a closed link as errors of the store', async () => {
  const { sent, store } = makeLink();
  const failed = store.takeBatch([take]);
  store.onReplies({ type: 'bucket-replies', id: sent[0]?.id ?? 0, replies: [null] });
  assert.deepEqual(codesOf(await failed), ['store_unavailable']);
  const odd = store.takeBatch([take, take]);
  store.onReplies({ type: 'bucket-replies', id: sent[1]?.id ?? 0, replies: [null] });
  store.onReplies({ type: 'bucket-replies', id: 999, replies: [] });
  assert.deepEqual(codesOf(await odd), ['store_unavailable', 'store_unavailable']);
  const broken = new PrimaryBucketStore(() => false);
  await assert.rejects(broken.takeBatch([take]), { code: 'store_unavailable' });
});

test('B30: with the primary’s store 8 workers admit exactly 100 of 2,000 simultaneous takes of one bucket', async () => {
  const host = new MemoryBucketStore(systemClock);
  const limiters = Array.from({ length: 8 }, () => {
    const store = new PrimaryBucketStore(({ id, takes }) => {
      const replies = takes.map((request) => host.take(request));
      setImmediate(() => store.onReplies({ type: 'bucket-replies', id, replies }));
      return true;
    });
    return makeLimiter({ store }).limiter;
  });
  const decisions = await Promise.all(limiters.map((limiter) => takeMany(limiter, 250)));
  assert.equal(allowed(decisions.flat()), 100);
  assert.ok(decisions.flat().every((decision) => decision.source !== 'local'));
});
