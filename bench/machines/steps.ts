/** The steps of `make bench-machines`: loads on all machines at once, and what each costs the stores. */
import { execFileSync } from 'node:child_process';
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import type { TakeRequest } from '../../src/contract/buckets.ts';
import { slotOfTag } from '../../src/infra/redis/cluster-slot.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';
import {
  bucketKey,
  hashBucketName,
  instancesKey,
  storeKeyPrefix,
} from '../../src/limit/bucket/bucket-key.ts';
import { LEASE_US } from '../../src/limit/store/bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../../src/limit/store/redis-bucket-store.ts';
import { probeTake } from '../../src/limit/store/store-health.ts';
import { packTakes } from '../../src/limit/store/take-codec.ts';
import { burst, connectToAll } from '../../test/cluster/burst.ts';
import { askJson } from '../../test/cluster/support.ts';
import { clientAddress } from '../../test/support/client-address.ts';
import type { Machines } from '../../test/support/machines.ts';
import type { SluiceProcess } from '../../test/support/sluice.ts';
import { waitFor } from '../../test/support/wait.ts';
import { ConstantLoad } from '../rig/constant-load.ts';
import { cpuSince, cpuTimes } from '../rig/cpu.ts';
import type { Counts, StoreMeter } from './stores.ts';

export interface Lab {
  machines: Machines;
  meter: StoreMeter;
  durationSec: number;
}

/** The same load on each machine. */
export interface Traffic {
  path: string;
  ratePerSec: number;
  callers: number;
}

/** Costs of a step, per second unless the name says otherwise. */
export interface StepCost {
  requests: number;
  failed: number;
  p99Ms: number;
  /** Calls of scripts at each node. */
  nodeCalls: number[];
  redisCpuUs: number;
  opened: number;
  mapReads: number;
  transactions: number;
  databaseCpuUs: number;
}

const WARM_UP_SEC = 2;
const CONNECTIONS = 16;
/** Takes under way while buckets are made. */
const AT_ONCE = 500;
const MANY_CONNECTIONS = 200;
const BUSY_CALLS = 200_000;
const PREFIX = 'sluice';

/** measure loads every machine evenly, or none, and returns what it cost per second. */
export async function measure(lab: Lab, traffic: Traffic | null): Promise<StepCost> {
  const { machines, meter, durationSec } = lab;
  const loads = traffic === null ? [] : await startLoads(machines.instances, traffic, durationSec);
  await sleep(WARM_UP_SEC * 1_000);
  const before = await meter.counts();
  await sleep(durationSec * 1_000);
  const after = await meter.counts();
  const tallies = await Promise.all(loads.map((load) => load.stop()));
  const rates = perSecond(before, after);
  const all = traffic === null ? 0 : traffic.ratePerSec * loads.length;
  const failed = tallies.reduce((sum, tally) => sum + tally.failed, 0);
  return { ...rates, requests: all, failed, p99Ms: Math.max(0, ...tallies.map(({ p99Ms }) => p99Ms)) };
}

function startLoads(
  instances: readonly SluiceProcess[],
  { path, ratePerSec, callers }: Traffic,
  durationSec: number,
): Promise<ConstantLoad[]> {
  return Promise.all(
    instances.map(({ proxyUrl }, seed) => {
      const { hostname: host, port } = new URL(proxyUrl);
      // Longer than the measurement, which stops it.
      const mostSec = durationSec + WARM_UP_SEC + 10;
      const more = { connections: CONNECTIONS, clients: callers, seed: seed + 1, mostSec };
      return ConstantLoad.start({ host, port: Number(port), path, ratePerSec, ...more });
    }),
  );
}

function perSecond(before: Counts, after: Counts): Omit<Counts, 'atMs'> {
  const sec = (after.atMs - before.atMs) / 1_000;
  const rate = (name: Exclude<keyof Counts, 'nodeCalls'>): number => (after[name] - before[name]) / sec;
  return {
    nodeCalls: after.nodeCalls.map((calls, i) => (calls - before.nodeCalls[i]!) / sec),
    redisCpuUs: rate('redisCpuUs'),
    opened: rate('opened'),
    mapReads: rate('mapReads'),
    transactions: rate('transactions'),
    databaseCpuUs: rate('databaseCpuUs'),
  };
}

/** admittedOf sends as many requests of one caller at once, over all machines, and returns how many were not refused. */
export async function admittedOf({ machines }: Lab, requests: number, caller: string): Promise<number> {
  const connections = await connectToAll(machines.instances);
  try {
    return requests - ((await burst(connections, requests, [caller]))[caller]?.[429] ?? 0);
  } finally {
    for (const connection of connections) connection.close();
  }
}

/** changeMs writes changes at one machine after the other, and returns for each after how many ms the last machine acted on it, in order. */
export async function changeMs({ machines }: Lab, count: number): Promise<number[]> {
  const agents = machines.instances.map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
  const seen: number[] = [];
  for (let n = 0; n < count; n++) {
    const clientId = `192.0.2.${n}`;
    const { adminUrl } = machines.instances[n % machines.instances.length]!;
    const fromMs = performance.now();
    await askJson(`${adminUrl}/api/v1/clients/${clientId}`, { method: 'PUT', body: { mode: 'blocked' } });
    const refuses = async () => {
      const asked = machines.instances.map(({ proxyUrl }, i) => statusOf(proxyUrl, clientId, agents[i]!));
      return (await Promise.all(asked)).every((status) => status === 403);
    };
    await waitFor(`${clientId} to be blocked everywhere`, refuses, { everyMs: 1, timeoutMs: 10_000 });
    seen.push(performance.now() - fromMs);
    const { body } = await askJson(`${adminUrl}/api/v1/clients/${clientId}`, {
      method: 'PUT',
      body: { mode: 'limit' },
    });
    if (body.mode !== 'limit') throw new Error(`PUT: ${JSON.stringify(body)}`);
  }
  for (const agent of agents) agent.destroy();
  return seen.toSorted((a, b) => a - b);
}

function statusOf(url: string, caller: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = get(`${url}/tiny/off`, { agent, headers: { 'x-forwarded-for': caller }, timeout: 5_000 });
    sent.on('response', (answer) => answer.resume().on('end', () => resolve(answer.statusCode ?? 0)));
    sent.on('error', reject).on('timeout', () => sent.destroy(new Error('no answer within 5 s')));
  });
}

/** killOne kills the last machine with its workers under load, and says what the others noticed. */
export async function killOne({ machines, durationSec }: Lab, traffic: Traffic) {
  const victim = machines.instances.at(-1)!;
  const others = machines.instances.slice(0, -1);
  const areDivided = () => others.every((each) => divisorOf(each) === others.length);
  const loads = await startLoads(others, traffic, durationSec);
  const killedAtMs = performance.now();
  await victim.child.kill();
  const client = new Redis(machines.cluster.nodes[0]!.url);
  const owner = await machines.cluster.ownerOf(
    Number(await client.call('CLUSTER', 'KEYSLOT', instancesKey(PREFIX))),
  );
  client.disconnect();
  const counting = new Redis(owner.url);
  const isDropped = async () => {
    // The next announcement of anybody removes those that are overdue.
    return (await counting.zcard(instancesKey(PREFIX))) === others.length;
  };
  await waitFor('the killed machine to be dropped', isDropped, { everyMs: 50 });
  const droppedMs = performance.now() - killedAtMs;
  counting.disconnect();
  await waitFor('the others to divide limits among themselves', areDivided);
  const dividedMs = performance.now() - killedAtMs;
  const tallies = await Promise.all(loads.map((load) => load.stop()));
  const sum = (name: 'good' | 'failed'): number => tallies.reduce((total, tally) => total + tally[name], 0);
  return { good: sum('good'), failed: sum('failed'), droppedMs, dividedMs };
}

/** By which an instance of one worker divides limits while the store is away, as its log says. */
function divisorOf(instance: SluiceProcess): unknown {
  const isNews = ({ msg }: Record<string, unknown>): boolean =>
    msg === 'the number of workers that share the store has changed';
  return instance.jsonLines(isNews).at(-1)?.workers;
}

/** bytesPerBucket makes buckets that refill slowly and returns the growth of the memory of Redis for each. */
export async function bytesPerBucket({ machines, meter }: Lab, count: number): Promise<number> {
  await meter.forget();
  const connection = new RedisConnection({
    servers: { kind: 'cluster', urls: machines.cluster.urls },
    connectionName: 'sluice-bench',
    scripts: bucketScripts(),
    logger: pino({ level: 'silent' }),
  });
  try {
    await connection.firstReady;
    const store = new RedisBucketStore({ connection, prefix: PREFIX, timeoutMs: 10_000 });
    const before = await meter.memory();
    for (let from = 0; from < count; from += AT_ONCE) {
      const size = Math.min(AT_ONCE, count - from);
      await Promise.all(Array.from({ length: size }, (_, i) => store.takeBatch([takeOf(from + i)])));
    }
    const after = await meter.memory();
    if (after.keys - before.keys !== count)
      throw new Error(`${after.keys - before.keys} of ${count} buckets`);
    return (after.bytes - before.bytes) / count;
  } finally {
    await connection.close();
  }
}

/**
 * busyCalls calls the script at one node as fast as it answers, over many connections with one call under way on each, as machines do.
 * redis-benchmark comes with redis-server.
 */
export async function busyCalls({ machines }: Lab): Promise<{ callUs: number; perSec: number }> {
  const node = await machines.cluster.ownerOf(slotOfTag('bench'));
  const client = new Redis(node.url);
  const sha = String(await client.script('LOAD', bucketScripts().takeTokens.lua));
  client.disconnect();
  // -r puts random numbers in the place of __rand_int__, -x reads the last argument from standard input.
  const key = `${storeKeyPrefix(PREFIX)}{bench}:__rand_int__`;
  const options = `-p ${node.port} -c ${MANY_CONNECTIONS} -n ${BUSY_CALLS} -r 10000 -q -x`.split(' ');
  const before = { atMs: performance.now(), cpu: cpuTimes([node.pid]) };
  execFileSync('redis-benchmark', [...options, 'EVALSHA', sha, '1', key, String(LEASE_US)], {
    input: packTakes([takeOf(0)]),
    timeout: 120_000,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const { totalUs } = cpuSince(before.cpu, cpuTimes([node.pid]));
  return { callUs: totalUs / BUSY_CALLS, perSec: (BUSY_CALLS * 1_000) / (performance.now() - before.atMs) };
}

function takeOf(caller: number): TakeRequest {
  const key = bucketKey(hashBucketName(clientAddress(caller)), 'default');
  return { ...probeTake(key), capacity: 100, rateMicro: 1_000 };
}
