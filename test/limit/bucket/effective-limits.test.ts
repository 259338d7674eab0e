import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientMatch, ClientRecord } from '../../../src/contract/clients.ts';
import { effectiveLimits, rateMicroOf } from '../../../src/limit/bucket/effective-limits.ts';

const policy = { name: 'default', capacity: 100, refillPerSecond: 50 };

function matchOf(client: Partial<ClientRecord> | null, tombstoneUs = 0): ClientMatch {
  const record: ClientRecord | null =
    client === null ? null : { clientId: 'acme', mode: 'limit', limits: {}, versionUs: 1, ...client };
  return { client: record, bucketName: 'acme', tombstoneUs };
}

test('effective limits are the policy’s for an unknown caller, with the load time of the policies', () => {
  assert.deepEqual(effectiveLimits(policy, 500, matchOf(null)), {
    capacity: 100,
    refillPerSecond: 50,
    rateMicro: 50_000_000,
    versionUs: 500,
  });
});

test('effective limits are the client’s own for the policy, if any, with the time of its row', () => {
  const own = { default: { capacity: 7, refillPerSecond: 0.5 } };
  const limits = effectiveLimits(policy, 500, matchOf({ limits: own, versionUs: 300 }));
  assert.deepEqual(limits, { capacity: 7, refillPerSecond: 0.5, rateMicro: 500_000, versionUs: 300 });
  const other = effectiveLimits({ ...policy, name: 'other' }, 500, matchOf({ limits: own, versionUs: 300 }));
  assert.deepEqual([other.capacity, other.versionUs], [100, 500]);
});

test('effective limits get a newer version when a client is created, changed, loses its own limits or is deleted', () => {
  const own = (capacity: number) => ({ default: { capacity, refillPerSecond: 1 } });
  const life = [
    matchOf(null),
    matchOf({ limits: own(7), versionUs: 1_000 }),
    matchOf({ limits: own(9), versionUs: 2_000 }),
    matchOf({ versionUs: 3_000 }),
    matchOf(null, 4_000),
  ].map((match) => effectiveLimits(policy, 500, match));
  assert.deepEqual(
    life.map(({ capacity, versionUs }) => [capacity, versionUs]),
    [
      [100, 500],
      [7, 1_000],
      [9, 2_000],
      [100, 3_000],
      [100, 4_000],
    ],
  );
});

test('effective limits work for a policy named like a property of Object.prototype', () => {
  assert.equal(effectiveLimits({ ...policy, name: 'constructor' }, 500, matchOf({})).capacity, 100);
});

test('effective limits round rates down to whole micro-tokens, but never to 0, and not because of floating-point error', () => {
  assert.equal(rateMicroOf(100 / 60), 1_666_666);
  assert.equal(rateMicroOf(1e-6), 1);
  assert.equal(rateMicroOf(0.000007), 7);
  assert.equal(rateMicroOf(1e9), 1e15);
  for (let micro = 1; micro < 3_000_000; micro += 997) assert.equal(rateMicroOf(micro / 1e6), micro);
});
