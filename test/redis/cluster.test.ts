/** A Redis Cluster: each node must behave like a single Redis. */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { slotOfTag } from '../../src/infra/redis/cluster-slot.ts';
import type { Caller } from '../../src/limit/caller/identity.ts';
import type { Decision } from '../../src/limit/decision.ts';
import { allowed, callerOf, policyOf } from '../limit/limiter/limiter-lab.ts';
import type { RedisServer } from '../support/redis.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { waitFor, within } from '../support/wait.ts';
import { type Fleet, PATIENT_MS, startFleet } from './limiter-fleet.ts';

const CAPACITY = 100;
const POLICY = policyOf({ capacity: CAPACITY, refillPerSecond: 0.001 });
/** So large that no bucket gets empty; without leases, so that each take calls the store. */
const PLENTY = policyOf({ capacity: 1_000_000, refillPerSecond: 1_000 });
const FROZEN_MS = 4_000;

type Worker = Fleet['workers'][number];

async function workerOf(t: TestContext, cluster: RedisCluster, timeoutMs: number): Promise<Worker> {
  const policies = [PLENTY];
  const servers = { kind: 'cluster', urls: cluster.urls.slice(0, 1) } as const;
  const fleet = await startFleet(t, servers, 1, { policies, leases: false, timeoutMs });
  return fleet.workers[0] ?? assert.fail();
}

/** Callers with buckets on the node, and callers with buckets on the others. */
async function callersBy(cluster: RedisCluster, node: RedisServer, count: number) {
  const [on, off]: [Caller[], Caller[]] = [[], []];
  for (let i = 0; on.length < count || off.length < count; i++) {
    const caller = callerOf(`caller-${i}`);
    const owner = await cluster.ownerOf(slotOfTag(caller.bucketHash));
    (owner === node ? on : off).push(caller);
  }
  return { on: on.slice(0, count), off: off.slice(0, count) };
}

function takeEach({ limiter }: Worker, callers: readonly Caller[]): Promise<Decision[]> {
  return Promise.all(callers.map(async (caller) => limiter.take(caller, PLENTY, 1)));
}

const sourcesOf = (decisions: readonly Decision[]) => new Set(decisions.map(({ source }) => source));

test('the computed slot of a key equals that of Redis', async (t) => {
  const cluster = await startRedisCluster({ masters: 1 });
  t.after(() => cluster.stop());
  const client = new Redis(cluster.urls[0] ?? '');
  t.after(() => client.disconnect());
  for (const tag of ['0', 'probe', 'sluice:instances', callerOf('a').bucketHash, callerOf('b').bucketHash]) {
    assert.equal(slotOfTag(tag), await client.call('CLUSTER', 'KEYSLOT', `x{${tag}}y`));
  }
});

test('the map of slots is read on the connections that are there', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  await workerOf(t, cluster, 500);
  const clients = cluster.urls.map((url) => new Redis(url));
  t.after(() => clients.forEach((client) => void client.disconnect()));
  const sum = async (section: string, pattern: RegExp): Promise<number> => {
    const texts = await Promise.all(clients.map((client) => client.info(section)));
    return texts.reduce((total, text) => total + Number(pattern.exec(text)?.[1] ?? 0), 0);
  };
  const untilRead = async (times: number): Promise<void> => {
    const reads = () => sum('commandstats', /^cmdstat_cluster\|slots:calls=(\d+)/m);
    const before = await reads();
    await waitFor(`${times} reads of the map`, async () => (await reads()) >= before + times);
  };
  await untilRead(1);
  const opened = () => sum('stats', /^total_connections_received:(\d+)/m);
  const before = await opened();
  await untilRead(2);
  assert.equal(await opened(), before);
});

test('B32: while one node of a Cluster is frozen, buckets on the others are always decided by the store', async (t) => {
  const cluster = await startRedisCluster({ partial: true });
  t.after(() => cluster.stop());
  // Long, so that a busy machine causes no failure; the frozen node is silent for longer.
  const worker = await workerOf(t, cluster, 500);
  const frozen = cluster.nodes[2] ?? assert.fail();
  const { on, off } = await callersBy(cluster, frozen, 10);
  assert.deepEqual(sourcesOf(await takeEach(worker, [...on, ...off])), new Set(['store']));
  frozen.signal('SIGSTOP');
  const untilMs = performance.now() + FROZEN_MS;
  const others = new Set<string>();
  let decided = 0;
  while (performance.now() < untilMs) {
    const alone = takeEach(worker, on);
    for (let i = 0; i < 20; i++) {
      const decisions = await takeEach(worker, off);
      decided += decisions.length;
      for (const source of sourcesOf(decisions)) others.add(source);
    }
    assert.deepEqual(sourcesOf(await alone), new Set(['local']));
  }
  assert.deepEqual(others, new Set(['store']), `of ${decided} decisions`);
  assert.equal(worker.limiter.breakerOpen, true, 'readiness tells of the node');
  const waiting = takeEach(worker, on);
  assert.ok((await waiting).every(({ allowed }) => allowed));
  frozen.signal('SIGCONT');
  await waitFor(
    'the thawed node to decide again',
    async () => sourcesOf(await takeEach(worker, on)).has('store') && !worker.limiter.breakerOpen,
  );
  const lines = worker.log.map(({ level }) => level).join(' ');
  assert.match(lines, /^warn info( warn info)*$/, 'one line per change of the breaker');
});

test('B32: when a master of a Cluster dies its replica takes over, and only its buckets are decided locally until then', async (t) => {
  const cluster = await startRedisCluster({ replicas: 1, partial: true });
  t.after(() => cluster.stop());
  const worker = await workerOf(t, cluster, 500);
  const dying = cluster.nodes[0] ?? assert.fail();
  const { on, off } = await callersBy(cluster, dying, 10);
  assert.deepEqual(sourcesOf(await takeEach(worker, [...on, ...off])), new Set(['store']));
  dying.signal('SIGKILL');
  const others = new Set<string>();
  await waitFor(
    'the promoted replica to decide',
    async () => {
      for (const source of sourcesOf(await takeEach(worker, off))) others.add(source);
      const sources = sourcesOf(await takeEach(worker, on));
      return sources.size === 1 && sources.has('store');
    },
    { timeoutMs: 30_000, everyMs: 20 },
  );
  assert.deepEqual(others, new Set(['store']));
  await waitFor('the dead node to be forgotten', () => !worker.limiter.breakerOpen, { timeoutMs: 5_000 });
});

test('B30: 5,000 new callers in one turn are all decided by the Cluster, and the breakers stay closed', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  const worker = await workerOf(t, cluster, 10 * PATIENT_MS);
  const callers = Array.from({ length: 5_000 }, (_, i) => callerOf(`new-${i}`));
  const decisions = await takeEach(worker, callers);
  assert.equal(allowed(decisions), callers.length);
  assert.deepEqual(sourcesOf(decisions), new Set(['store']));
  assert.equal(worker.limiter.breakerOpen, false);
});

test('B30: buckets of a Cluster stay exact while their slots move, one after the other', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  const policies = [POLICY];
  const fleet = await startFleet(t, { kind: 'cluster', urls: cluster.urls }, 2, {
    policies,
    timeoutMs: PATIENT_MS,
  });
  const callers = ['a', 'b', 'c'].map((name) => callerOf(name));
  const decisions = new Map<Caller, Decision[]>(callers.map((caller) => [caller, []]));
  const ask = async (times: number) => {
    const all = callers.flatMap((caller) =>
      fleet.workers.flatMap(({ limiter }) =>
        Array.from({ length: times }, async () => {
          decisions.get(caller)?.push(await limiter.take(caller, POLICY, 1));
        }),
      ),
    );
    await Promise.all(all);
  };
  await ask(2);
  for (const caller of callers) {
    const slot = slotOfTag(caller.bucketHash);
    const owner = await cluster.ownerOf(slot);
    const target = cluster.nodes.find((node) => node !== owner) ?? assert.fail();
    await cluster.moveSlot(slot, target, () => ask(2));
  }
  await ask(CAPACITY);
  for (const decided of decisions.values()) {
    assert.equal(allowed(decided), CAPACITY);
    assert.ok(!sourcesOf(decided).has('local'));
  }
});

test('a connection to a Cluster that is made anew is not ready before its own nodes are reached', async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  const { connection } = await workerOf(t, cluster, PATIENT_MS);
  const { client } = connection;
  assert.ok(client instanceof Cluster);
  const slowNode = () => Object.assign(new EventEmitter(), { status: 'connecting' });
  const [first, second] = [slowNode(), slowNode()];
  let node = first;
  const nodes = t.mock.method(client, 'nodes', () => [node]);
  client.emit('ready');
  node = second;
  const events = [once(client, 'close'), once(client, 'ready')];
  client.disconnect(true);
  await within(Promise.all(events), 5_000, 'the client to close and to be ready again');
  first.emit('ready');
  await nextTurn();
  assert.equal(connection.ready, false);
  second.emit('ready');
  await waitFor('the nodes to be reached', () => connection.ready);
  nodes.mock.restore();
});
