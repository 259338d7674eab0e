/** The Redis rights in docs/rate-limiting.md are enough for everything that the product does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { Redis } from 'ioredis';
import { type ClientRecord, matchOfClient } from '../../src/contract/clients.ts';
import type { LbError } from '../../src/contract/errors.ts';
import type { RedisServers } from '../../src/contract/settings.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { bucketKey } from '../../src/limit/bucket/bucket-key.ts';
import { bucketKeysOf } from '../../src/limit/bucket/bucket-peek.ts';
import type { Decision } from '../../src/limit/decision.ts';
import { FAILURES_TO_OPEN } from '../../src/limit/store/breaker.ts';
import { MICRO, PLAIN_TAKE } from '../../src/limit/store/bucket-store.ts';
import { InstanceHeartbeat } from '../../src/primary/instance-heartbeat.ts';
import { callerOf, policyOf, STORE_CALLS } from '../limit/limiter/limiter-lab.ts';
import { startRedis } from '../support/redis.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';
import { startRedisSentinel } from '../support/redis-sentinel.ts';
import { waitFor } from '../support/wait.ts';
import { PATIENT_MS, startFleet } from './limiter-fleet.ts';
import { openOperatorBuckets } from './operator-buckets.ts';

const DOCS = readFileSync(new URL('../../docs/rate-limiting.md', import.meta.url), 'utf8');
const RULE = /^ACL SETUSER sluice on >secret (.+)$/m.exec(DOCS)?.[1] ?? '';
const CLUSTER_RIGHTS = [...(/^In a Cluster .+ too/m.exec(DOCS)?.[0].matchAll(/\+[a-z|]+/g) ?? [])].map(
  ([word]) => word,
);
const SENTINEL_USER = /^user sluice on >secret .+$/m.exec(DOCS)?.[0] ?? '';

const POLICIES = ['perSecond', 'perDay'].map((name) => policyOf({ name, capacity: 100 }));
const CLIENT: ClientRecord = { clientId: '203.0.113.7', mode: 'limit', limits: {}, versionUs: 1 };
const CALLER = callerOf(CLIENT.clientId);
const silent = makeLogger({ level: 'silent', format: 'json' });

/** An operator's connection, which created the documented user. */
async function documentedUser(t: TestContext, url: string, more: readonly string[] = []): Promise<Redis> {
  const admin = new Redis(url);
  t.after(() => admin.disconnect());
  await admin.call('ACL', 'SETUSER', 'sluice', 'reset', 'on', '>secret', ...RULE.split(' '), ...more);
  return admin;
}

function asUser(url: string): string {
  return url.replace('redis://', 'redis://sluice:secret@');
}

/** Does all that an instance does at its Redis, one after the other. */
async function useAll(t: TestContext, servers: RedisServers) {
  const fleet = await startFleet(t, servers, 2, { policies: POLICIES, timeoutMs: PATIENT_MS });
  const decide = (count: number, policies = POLICIES): Promise<Decision[]> =>
    Promise.all(
      fleet.workers.flatMap(({ limiter }) =>
        policies.flatMap((policy) =>
          Array.from({ length: count }, async (): Promise<Decision> => limiter.take(CALLER, policy, 1)),
        ),
      ),
    );
  const take = async (count: number, policies = POLICIES): Promise<void> => {
    const decisions = await decide(count, policies);
    assert.ok(decisions.every(({ source, allowed }) => source !== 'local' && allowed));
  };
  await take(5);

  const { buckets, store } = await openOperatorBuckets(t, servers, { policies: () => POLICIES });
  const { connection } = store;
  assert.ok(connection !== null);
  await waitFor('the connection of the primary', () => connection.ready);
  const levels = async () =>
    (await buckets.of(matchOfClient(CLIENT), 1_000)).map(({ level }) => Math.floor(level));
  assert.deepEqual(await levels(), [90, 90], 'a look');
  await store.buckets.refill(bucketKeysOf(CLIENT.clientId, POLICIES));
  assert.deepEqual(await levels(), [100, 100], 'a reset');

  const heard: number[] = [];
  const heartbeat = new InstanceHeartbeat({
    connection,
    prefix: 'sluice',
    workers: () => 2,
    assumedWorkers: () => 1,
    onChange: (workers) => heard.push(workers),
    logger: silent,
  });
  void heartbeat.start();
  await waitFor('the heartbeat', () => heard.length > 0);
  await heartbeat.close();
  assert.deepEqual(heard, [2]);
  return { decide, take };
}

async function assertNothingDenied(admins: readonly Redis[]): Promise<void> {
  for (const admin of admins) assert.deepEqual(await admin.call('ACL', 'LOG'), []);
}

test('an ACL user with the documented rights and one prefix is enough for takes, looks, resets and heartbeats', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const admin = await documentedUser(t, server.url);
  await useAll(t, { kind: 'single', url: asUser(server.url) });
  await assertNothingDenied([admin]);
  const other = await startFleet(t, asUser(server.url), 1, { policies: POLICIES, prefix: 'other' });
  const [policy] = POLICIES;
  const decision = await other.workers[0]?.limiter.take(CALLER, policy ?? assert.fail(), 1);
  assert.equal(decision?.source, 'local', 'another prefix is closed to it');
});

test('an ACL user with the documented rights is enough in a Cluster, also while a slot moves', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  assert.ok(CLUSTER_RIGHTS.length > 0);
  const admins = await Promise.all(cluster.urls.map((url) => documentedUser(t, url, CLUSTER_RIGHTS)));
  const { decide, take } = await useAll(t, { kind: 'cluster', urls: cluster.urls.map(asUser) });
  const key = bucketKey(CALLER.bucketHash, POLICIES[0]?.name ?? '');
  const slot = Number(await admins[0]?.call('CLUSTER', 'KEYSLOT', key));
  const owner = await cluster.ownerOf(slot);
  const target = cluster.nodes.find((node) => node !== owner) ?? assert.fail();
  // One bucket: while a slot moves, Redis refuses a call for several of which some are missing.
  const one = POLICIES.slice(0, 1);
  await cluster.moveSlot(slot, target, () => take(1, one));
  await assertNothingDenied(admins);

  // Without a right the limiter would decide alone.
  for (const admin of admins) await admin.call('ACL', 'SETUSER', 'sluice', '-asking');
  const sources = new Set<string>();
  await cluster.moveSlot(slot, owner, async () => {
    for (const { allowed, source } of await decide(1, one)) {
      assert.ok(allowed);
      sources.add(source);
    }
  });
  assert.ok(sources.has('local'));
});

test('an ACL user with the documented rights is enough behind Sentinel, at the sentinels too', async (t) => {
  assert.notEqual(SENTINEL_USER, '');
  const sentinel = await startRedisSentinel([SENTINEL_USER]);
  t.after(() => sentinel.stop());
  const { master, replica, name, url } = sentinel;
  const admins = await Promise.all([master, replica].map((server) => documentedUser(t, server.url)));
  const atSentinel = new Redis(url);
  t.after(() => atSentinel.disconnect());
  await useAll(t, { kind: 'sentinel', master: name, urls: [asUser(url)] });
  await assertNothingDenied([...admins, atSentinel]);
});

test('without the right to read buckets the store counts as failing and away, until the right is there', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const admin = await documentedUser(t, server.url, ['-get']);
  const policies = POLICIES.slice(0, 1);
  const [policy = assert.fail()] = policies;
  const fleet = await startFleet(t, asUser(server.url), 1, { policies, timeoutMs: PATIENT_MS });
  const { limiter, metric, log, store } = fleet.workers[0] ?? assert.fail();
  for (let call = 1; call <= FAILURES_TO_OPEN; call++)
    assert.equal((await limiter.take(CALLER, policy, 1)).source, 'local');
  assert.equal(limiter.breakerOpen, true);
  assert.ok(log.some(({ msg }) => msg.startsWith('the bucket store is away')));
  assert.equal(metric(STORE_CALLS, 'error'), FAILURES_TO_OPEN);
  assert.equal(metric(STORE_CALLS, 'ok'), 0);
  await assert.rejects(
    store.takeBatch([
      { key: 'any', capacity: 1, rateMicro: MICRO, versionUs: 1, need: 1, partial: false, ...PLAIN_TAKE },
    ]),
    ({ code, cause }: LbError) => {
      assert.equal(code, 'store_unavailable');
      assert.match(String(cause), /'get'/, 'the log names the missing right');
      return true;
    },
  );
  await admin.call('ACL', 'SETUSER', 'sluice', '+get');
  await waitFor('the store to count again', () => !limiter.breakerOpen);
  assert.notEqual((await limiter.take(CALLER, policy, 1)).source, 'local');
});
