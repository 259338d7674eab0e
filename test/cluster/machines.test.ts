/** Three machines of two workers each, on one Redis Cluster and one PostgreSQL server. The tests build on each other. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Redis } from 'ioredis';
import { clientAddress } from '../support/client-address.ts';
import { type Load, startLoad } from '../support/load.ts';
import { Machines } from '../support/machines.ts';
import type { RawClient } from '../support/raw-http.ts';
import type { SluiceProcess } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { burst, connectToAll, PATIENT } from './burst.ts';
import { askJson, metricOf, type NamedBackend, poolOf, startNamed } from './support.ts';

const CAPACITY = 100;
const LIMIT = { capacity: CAPACITY, refillPerSecond: 0.001 };
/** So many that each node of the Cluster has buckets of some. */
const CALLERS = Array.from({ length: 12 }, (_, n) => clientAddress(n));
/** Twice what is promised: on busy cores the test itself is late. */
const SOON_MS = 2_000;

let backend: NamedBackend;
let machines: Machines;
let connections: RawClient[];

before(async () => {
  backend = await startNamed('a');
  machines = await Machines.start({
    ...PATIENT,
    workers: 2,
    trustedProxies: ['127.0.0.0/8'],
    pools: poolOf([backend]),
    routes: [
      { name: 'wide', match: { path: '/wide' }, pool: 'app', rateLimit: { policy: 'wide' } },
      { name: 'rest', pool: 'app' },
    ],
    rateLimit: { policies: { default: LIMIT, wide: { capacity: 1e6, refillPerSecond: 1e6 } }, instances: 3 },
    secrets: { apiKeys: 'the same on all machines' },
    log: { access: { enabled: false } },
  });
  await machines.grow(3);
  connections = await connectToAll(machines.instances);
});

after(async () => {
  for (const connection of connections ?? []) connection.close();
  try {
    await machines?.stop();
  } finally {
    await backend?.close();
  }
});

/** Changes a client at one machine, and waits until every worker of the machines that run answers it with the status. */
async function change(
  at: SluiceProcess,
  body: { clientId: string; mode: string },
  status: number,
): Promise<void> {
  const { clientId, mode } = body;
  const written = await askJson(`${at.adminUrl}/api/v1/clients/${clientId}`, {
    method: 'PUT',
    body: { mode },
  });
  assert.ok(written.status === 200 || written.status === 201, JSON.stringify(written));
  const all = { [clientId]: { [status]: connections.length } };
  await waitFor(
    `${status} for ${clientId} from every worker`,
    async () => {
      const counts = await burst(connections, connections.length, [clientId]);
      return JSON.stringify(counts) === JSON.stringify(all);
    },
    { timeoutMs: SOON_MS },
  );
}

/** How many nodes of the Cluster hold buckets. */
async function nodesWithBuckets(): Promise<number> {
  const held = machines.cluster.urls.map(async (url) => {
    const client = new Redis(url);
    const keys = await client.keys('*:rl1:*');
    client.disconnect();
    return keys.length > 0;
  });
  return (await Promise.all(held)).filter(Boolean).length;
}

test('B30: over three machines and a Redis Cluster, each of twelve callers at once is admitted exactly as often as its limit says', async () => {
  const each = CAPACITY + 50;
  const counts = await burst(connections, CALLERS.length * each, CALLERS);
  const exact = { 200: CAPACITY, 429: each - CAPACITY };
  assert.deepEqual(counts, Object.fromEntries(CALLERS.map((caller) => [caller, exact])));
  assert.equal(await nodesWithBuckets(), machines.cluster.nodes.length);
});

test('a change of a client acts at every worker of every machine at once, whichever machine is told', async () => {
  const [one, two, three] = machines.instances as [SluiceProcess, SluiceProcess, SluiceProcess];
  const clientId = '192.0.2.1';
  await change(one, { clientId, mode: 'blocked' }, 403);
  await change(two, { clientId, mode: 'unlimited' }, 200);
  await change(three, { clientId, mode: 'blocked' }, 403);
});

test('a machine that is killed with all its workers costs the others no request, and what it admitted stays counted', async (t) => {
  const [victim, ...others] = machines.instances.toReversed() as [SluiceProcess, ...SluiceProcess[]];
  const loads: Load[] = others.map(({ proxyUrl }) =>
    startLoad({ url: `${proxyUrl}/wide`, connections: 2, pauseMs: 2 }),
  );
  t.after(() => Promise.all(loads.map((load) => load.stop())));
  const isOf = ({ proxyUrl }: SluiceProcess, { socket }: RawClient): boolean =>
    new URL(proxyUrl).hostname === socket.remoteAddress;
  const caller = clientAddress(999);
  const ofVictim = connections.filter((connection) => isOf(victim, connection));
  assert.deepEqual(await burst(ofVictim, 40, [caller]), { [caller]: { 200: 40 } });
  connections = connections.filter((connection) => !ofVictim.includes(connection));
  await Promise.all(loads.map((load) => load.atLeast(100)));

  await victim.child.kill();
  for (const connection of ofVictim) connection.close();
  assert.deepEqual(await burst(connections, 150, [caller]), { [caller]: { 200: 60, 429: 90 } });
  await change(others[0]!, { clientId: '192.0.2.2', mode: 'blocked' }, 403);
  await Promise.all(loads.map((load) => load.atLeast(300)));
  for (const load of loads) {
    const { statuses, failures } = await load.stop();
    assert.deepEqual({ codes: Object.keys(statuses), failures }, { codes: ['200'], failures: {} });
  }
  for (const { adminUrl } of others) {
    assert.deepEqual((await askJson(`${adminUrl}/readyz`)).body.degraded, []);
    const alone = await metricOf(adminUrl, 'sluice_ratelimit_decisions_total', { source: 'local' });
    assert.equal(alone ?? 0, 0, 'decisions made without the store');
  }
});
