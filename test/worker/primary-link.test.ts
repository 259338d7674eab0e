import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { PLAIN_TAKE } from '../../src/limit/store/bucket-store.ts';
import { PrimaryBucketStore } from '../../src/limit/store/primary-bucket-store.ts';
import { PrimaryLink } from '../../src/worker/primary-link.ts';

test('a take without a primary is refused at once, so that the limiter need not wait for its deadline', async (t) => {
  assert.equal(process.connected ?? false, false, 'this process has no primary');
  const before = process.listeners('message');
  const link = new PrimaryLink(pino({ level: 'silent' }), () => undefined);
  t.after(() => {
    for (const listener of process.listeners('message'))
      if (!before.includes(listener)) process.off('message', listener);
  });
  const store = new PrimaryBucketStore((message) => link.send(message));
  const take = { key: '{a}:default', capacity: 10, rateMicro: 1, versionUs: 1, need: 1, partial: true };
  await assert.rejects(store.takeBatch([{ ...take, ...PLAIN_TAKE }]), { code: 'store_unavailable' });
  let hasLeft = false;
  const sent = link.send({ type: 'draining' }, () => {
    hasLeft = true;
  });
  assert.deepEqual([sent, hasLeft], [false, true]);
});
