/** Limits are exact in every deployment: Valkey, a Cluster, a master behind Sentinel, TLS. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import type { PolicySettings, RedisServers } from '../../src/contract/settings.ts';
import { bucketKey } from '../../src/limit/bucket/bucket-key.ts';
import type { Caller } from '../../src/limit/caller/identity.ts';
import { charge, type RouteLimit } from '../../src/limit/charge.ts';
import type { Decision } from '../../src/limit/decision.ts';
import { PLAIN_TAKE } from '../../src/limit/store/bucket-store.ts';
import { callerOf, policyOf } from '../limit/limiter/limiter-lab.ts';
import { spawnChild } from '../support/child.ts';
import { startRedis } from '../support/redis.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { startRedisSentinel } from '../support/redis-sentinel.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { type Fleet, PATIENT_MS, startFleet } from './limiter-fleet.ts';
import { assertOneLinePerChange, assertPatience, PLENTY, recovered, startTraffic } from './outage-lab.ts';

const FLEET_SIZE = 4;
const CAPACITY = 100;
const POLICY = policyOf({ capacity: CAPACITY, refillPerSecond: 0.001 });
async function fleetOf(t: TestContext, servers: RedisServers | string): Promise<Fleet> {
  return await startFleet(t, servers, FLEET_SIZE, { policies: [POLICY], timeoutMs: PATIENT_MS });
}

/** Every worker takes `perWorker` times for each caller at once. */
async function burst(fleet: Fleet, callers: readonly Caller[], perWorker: number): Promise<Decision[][]> {
  return await Promise.all(
    callers.map((caller) =>
      Promise.all(
        fleet.workers.flatMap(({ limiter }) =>
          Array.from({ length: perWorker }, async () => limiter.take(caller, POLICY, 1)),
        ),
      ),
    ),
  );
}

function admitted(decisions: readonly Decision[]): number {
  return decisions.filter(({ allowed }) => allowed).length;
}

async function proveExact(fleet: Fleet, names: readonly string[]): Promise<void> {
  const all = await burst(
    fleet,
    names.map((name) => callerOf(name)),
    50,
  );
  for (const decisions of all) assert.equal(admitted(decisions), CAPACITY);
  assert.ok(all.flat().every(({ source }) => source !== 'local'));
}

/** The slot of a key, and a node that does not have it. */
async function moveOf(t: TestContext, cluster: RedisCluster, key: string) {
  const client = new Redis(cluster.urls[0] ?? '');
  t.after(() => client.disconnect());
  const slot = Number(await client.call('CLUSTER', 'KEYSLOT', key));
  const owner = await cluster.ownerOf(slot);
  const target = cluster.nodes.find((node) => node !== owner);
  assert.ok(target !== undefined);
  return { slot, target };
}

test('B30: buckets in Valkey are exact', async (t) => {
  const server = await startRedis({ program: 'valkey-server' });
  t.after(() => server.stop());
  await proveExact(await fleetOf(t, server.url), ['one', 'two']);
});

test('B30: buckets in a Cluster are exact, also while a slot moves', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  const fleet = await fleetOf(t, { kind: 'cluster', urls: cluster.urls.slice(0, 1) });
  await proveExact(
    fleet,
    Array.from({ length: 12 }, (_, index) => `caller-${index}`),
  );

  const mover = callerOf('mover');
  const { slot, target } = await moveOf(t, cluster, bucketKey(mover.bucketHash, POLICY.name));
  const decisions: Decision[] = (await burst(fleet, [mover], 5)).flat();
  await cluster.moveSlot(slot, target, async () => {
    decisions.push(...(await burst(fleet, [mover], 5)).flat());
  });
  assert.equal(await cluster.ownerOf(slot), target);
  decisions.push(...(await burst(fleet, [mover], 20)).flat());
  assert.equal(admitted(decisions), CAPACITY);
});

test('B30: several policies are still charged together while the slot of their buckets moves, bucket by bucket', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  const second = policyOf({ name: 'second', capacity: 2 * CAPACITY, refillPerSecond: 0.001 });
  // Not used before the slot moves: a full bucket is on neither node.
  const third = policyOf({ name: 'third', capacity: 3 * CAPACITY, refillPerSecond: 0.001 });
  const policies = [POLICY, second, third];
  const servers: RedisServers = { kind: 'cluster', urls: cluster.urls };
  const fleet = await startFleet(t, servers, FLEET_SIZE, { policies, timeoutMs: PATIENT_MS, leases: false });
  const mover = callerOf('mover');
  const ask = (...others: PolicySettings[]) => {
    const limit: RouteLimit = { policies: [POLICY, ...others], cost: 1 };
    return Promise.all(
      fleet.workers.flatMap(({ limiter }) =>
        Array.from({ length: 2 }, async () => charge(limiter, mover, limit)),
      ),
    );
  };
  const decisions: Decision[] = await ask(second);
  const { slot, target } = await moveOf(t, cluster, bucketKey(mover.bucketHash, POLICY.name));
  let steps = 0;
  await cluster.moveSlot(slot, target, async () => {
    steps += 1;
    decisions.push(...(await (steps < 3 ? ask(second) : ask(second, third))));
  });
  assert.equal(steps, 4, 'before, after each of two buckets, and at the end');
  while (decisions.length < 2 * CAPACITY) decisions.push(...(await ask(second, third)));
  assert.deepEqual(new Set(decisions.map(({ source }) => source)), new Set(['store', 'deny_cache']));
  assert.equal(admitted(decisions), CAPACITY);
});

test('a client’s buckets are refilled while their slot moves', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  const fleet = await startFleet(t, { kind: 'cluster', urls: cluster.urls }, 1, { timeoutMs: PATIENT_MS });
  const store = fleet.workers[0]?.store;
  assert.ok(store !== undefined);
  const keys = ['one', 'two'].map((name) => bucketKey(callerOf('mover').bucketHash, name));
  const drain = () =>
    store.takeBatch(
      keys.map((key) => ({
        ...{ ...PLAIN_TAKE, key, capacity: 5, rateMicro: 1, versionUs: 1, need: 5, partial: false },
      })),
    );
  const granted = async () =>
    (await drain()).map((reply) => (reply instanceof Error ? reply : reply.granted));
  assert.deepEqual(await granted(), [5, 5]);
  const { slot, target } = await moveOf(t, cluster, keys[0] ?? '');
  await cluster.moveSlot(slot, target, async () => {
    assert.deepEqual(await granted(), [0, 0]);
    await store.refill(keys);
    assert.deepEqual(await granted(), [5, 5]);
  });
});

test('B32: when a node of a Cluster dies, only its own buckets are affected', async (t) => {
  const cluster = await startRedisCluster({ partial: true });
  t.after(() => cluster.stop());
  const fleet = await fleetOf(t, { kind: 'cluster', urls: cluster.urls });
  const names = Array.from({ length: 12 }, (_, index) => `caller-${index}`);
  await burst(
    fleet,
    names.map((name) => callerOf(name)),
    1,
  );
  const [dead] = cluster.nodes;
  dead?.signal('SIGKILL');
  await waitFor('decisions alone about some buckets, and by the store about the others', async () => {
    const all = await burst(
      fleet,
      names.map((name) => callerOf(name)),
      1,
    );
    const sources = new Set(all.flat().map(({ source }) => source));
    return sources.has('local') && (sources.has('store') || sources.has('lease'));
  });
});

test('B32: a failover by Sentinel under load refuses and delays no request, and the new master decides within 5 s', async (t) => {
  const sentinel = await startRedisSentinel();
  t.after(() => sentinel.stop());
  const replica = new Redis(sentinel.replica.url);
  t.after(() => replica.disconnect());
  const servers: RedisServers = { kind: 'sentinel', master: sentinel.name, urls: [sentinel.url] };
  const fleet = await startFleet(t, servers, FLEET_SIZE, { policies: [PLENTY] });
  const traffic = startTraffic(fleet);
  try {
    await waitFor('leases', () => traffic.counts.lease > 500);
    sentinel.master.signal('SIGKILL');
    await waitFor('decisions without the store', () => traffic.answeredWhileOpen > 500);
    await waitFor('the promotion', async () => /role:master/.test(await replica.info('replication')));
    await recovered(fleet);
    const before = traffic.counts.store;
    await waitFor('the new master to decide the traffic', () => traffic.counts.store > before + 100);
  } finally {
    await traffic.stop();
  }
  assert.equal(traffic.waitedWhileOpen, 0);
  assertPatience(traffic);
  assertOneLinePerChange(fleet);
});

test('B32: a silent sentinel does not prevent asking the others', async (t) => {
  const sentinel = await startRedisSentinel();
  t.after(() => sentinel.stop());
  const silent = createTcpServer((socket) => socket.unref());
  await once(silent.listen(0, '127.0.0.1'), 'listening');
  t.after(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const urls = [`redis://127.0.0.1:${port}`, sentinel.url];
  await fleetOf(t, { kind: 'sentinel', master: sentinel.name, urls });
});

/** A self-signed certificate for localhost. */
function makeCertificate(t: TestContext): { cert: string; key: string } {
  const folder = tempFolder(t, 'sluice-tls-');
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '2'];
  execFileSync('openssl', [...request, '-keyout', files.key, '-out', files.cert, ...names], {
    stdio: 'pipe',
  });
  return files;
}

function connectInProcess(
  t: TestContext,
  args: readonly string[],
  env: Record<string, string>,
): ReturnType<typeof spawnChild> {
  const program = fileURLToPath(new URL('connect-process.ts', import.meta.url));
  const child = spawnChild(process.execPath, [program, ...args], { env });
  t.after(() => child.kill());
  return child;
}

test('rediss:// checks the certificate: a process connects only if it knows the CA', async (t) => {
  const files = makeCertificate(t);
  const server = await startRedis({ tls: files });
  t.after(() => server.stop());
  const connect = (env: Record<string, string>) => connectInProcess(t, [server.url], env);
  await connect({ NODE_EXTRA_CA_CERTS: files.cert }).waitForLine('connected to Redis');
  await connect({}).waitForLine((line) =>
    /(self-signed|unable to verify).*no connection to Redis/.test(line),
  );
});

test('rediss:// with host names reaches the nodes of a Cluster, whose certificates are checked', async (t) => {
  const files = makeCertificate(t);
  const cluster = await startRedisCluster({ tls: files });
  t.after(() => cluster.stop());
  const connect = (env: Record<string, string>) =>
    connectInProcess(t, [cluster.urls[0] ?? '', 'cluster'], env);
  await connect({ NODE_EXTRA_CA_CERTS: files.cert }).waitForLine('a key was written');
  await connect({}).waitForLine((line) => line.includes('no connection to Redis'));
});

for (const kind of ['single', 'cluster']) {
  test(`rediss:// tells the server the host’s name (SNI): ${kind}`, async (t) => {
    const files = makeCertificate(t);
    const told: (string | false | null)[] = [];
    const [cert, key] = [readFileSync(files.cert), readFileSync(files.key)];
    const server = createServer({ cert, key }, (socket) => {
      told.push(socket.servername);
      socket.destroy();
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    connectInProcess(t, [`rediss://localhost:${port}`, kind], { NODE_EXTRA_CA_CERTS: files.cert });
    await waitFor('a connection', () => told.length > 0);
    assert.equal(told[0], 'localhost');
  });
}
