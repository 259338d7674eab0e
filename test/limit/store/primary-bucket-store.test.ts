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
import { allowed, makeLimiter, takeMany } from '../limiter/limiter-lab.ts';

const take: TakeRequest = {
  key: '{hash}:default',
  capacity: 10,
  rateMicro: 1,
  versionUs: 1,
  need: 1,
  partial: true,
  ...PLAIN_TAKE,
};

function makeLink(timeoutMs = 20) {
  const sent: BucketTakesMessage[] = [];
  const store = new PrimaryBucketStore({
    send: (message) => sent.push(message),
    timeoutMs,
    clock: systemClock,
  });
  const host = new MemoryBucketStore({ clock: systemClock });
  /** Answers one message as the primary does, through both ends' parsers. */
  const answer = async (message: BucketTakesMessage | undefined): Promise<void> => {
    const received = parseWorkerMessage(JSON.parse(JSON.stringify(message)));
    assert.ok(received?.type === 'bucket-takes');
    const replies = await host.takeBatch(received.takes);
    const reply = parsePrimaryMessage({ type: 'bucket-replies', id: received.id, replies });
    assert.ok(reply?.type === 'bucket-replies');
    store.onReplies(reply);
  };
  return { answer, sent, store };
}

function codesOf(results: unknown[]): (string | null)[] {
  return results.map((result) => (result instanceof LbError ? result.code : null));
}

test('the primary’s store matches replies to batches by their number, in whatever order they come', async () => {
  const { answer, sent, store } = makeLink(2_000);
  const first = store.takeBatch([{ ...take, need: 3 }, take]);
  const second = store.takeBatch([{ ...take, need: 100 }]);
  await answer(sent[1]);
  await answer(sent[0]);
  const granted = [...(await first), ...(await second)].map(
    (reply) => reply instanceof Error || reply.granted,
  );
  assert.deepEqual(granted, [0, 0, 10]);
});

test('the primary’s store gives up at its deadline and drops the late reply', async () => {
  const { answer, sent, store } = makeLink();
  const startMs = performance.now();
  assert.deepEqual(codesOf(await store.takeBatch([take, take])), ['store_timeout', 'store_timeout']);
  assert.ok(performance.now() - startMs >= 20);
  await answer(sent[0]);
  const next = store.takeBatch([take]);
  await answer(sent[1]);
  assert.deepEqual(codesOf(await next), [null]);
});

test('the primary’s store turns a failed take, a reply to something else and a closed link into errors of the store', async () => {
  const { sent, store } = makeLink(2_000);
  const failed = store.takeBatch([take]);
  store.onReplies({ type: 'bucket-replies', id: sent[0]?.id ?? 0, replies: [null] });
  assert.deepEqual(codesOf(await failed), ['store_unavailable']);
  const odd = store.takeBatch([take, take]);
  store.onReplies({ type: 'bucket-replies', id: sent[1]?.id ?? 0, replies: [null] });
  store.onReplies({ type: 'bucket-replies', id: 999, replies: [] });
  assert.deepEqual(codesOf(await odd), ['store_unavailable', 'store_unavailable']);
  const open = store.takeBatch([take]);
  await store.close();
  assert.deepEqual(codesOf(await open), ['store_timeout']);
  assert.equal(store.available, false);
  assert.deepEqual(codesOf(await store.takeBatch([take])), ['store_unavailable']);
  const broken = new PrimaryBucketStore({
    send: () => {
      throw new Error('channel closed');
    },
    timeoutMs: 20,
    clock: systemClock,
  });
  assert.deepEqual(codesOf(await broken.takeBatch([take])), ['store_unavailable']);
});

test('B30: the primary’s store lets 8 workers admit exactly 100 of 2,000 at once from one bucket in the primary', async () => {
  const host = new MemoryBucketStore({ clock: systemClock });
  const limiters = Array.from({ length: 8 }, () => {
    const store = new PrimaryBucketStore({
      timeoutMs: 20,
      clock: systemClock,
      send: ({ id, takes }) => {
        const replies = takes.map((request) => host.take(request));
        setImmediate(() => store.onReplies({ type: 'bucket-replies', id, replies }));
      },
    });
    return makeLimiter({ store }).limiter;
  });
  const decisions = await Promise.all(limiters.map((limiter) => takeMany(limiter, 250)));
  assert.equal(allowed(decisions.flat()), 100);
  assert.ok(decisions.flat().every((decision) => decision.source !== 'local'));
});
