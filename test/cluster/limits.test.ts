import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startLoad } from '../support/load.ts';
import { startRedis } from '../support/redis.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { ask, poolOf, startNamed, workersOf } from './support.ts';

const CAPACITY = 100;

/** A long deadline for a busy machine: the tests check how many requests are admitted, not when. */
async function startLimited(t: TestContext, workers: number) {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: {
      workers,
      pools: poolOf([backend]),
      redis: { url: redis.url, timeout: '2s' },
      rateLimit: { policies: { default: { capacity: CAPACITY, refillPerSecond: 0.001 } } },
      log: { access: { enabled: false } },
      limits: { connections: 0 },
    },
  });
  t.after(() => sluice.stop());
  return sluice;
}

function open(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => resolve(socket));
    socket.on('error', reject);
  });
}

function statusOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (!text.includes('\r\n\r\n')) return;
      resolve(text.slice(9, 12));
      socket.destroy();
    });
    socket.on('close', () => resolve('none'));
  });
}

test('B30: of 3,000 requests that reach one worker at the same moment exactly 100 are admitted', async (t) => {
  const sluice = await startLimited(t, 1);
  const [workerPid] = sluice.workerPids();
  assert.ok(workerPid !== undefined);
  const sockets = await Promise.all(Array.from({ length: 3_000 }, () => open(sluice.proxyUrl)));
  t.after(() => sockets.forEach((socket) => void socket.destroy()));
  const statuses = sockets.map(statusOf);
  process.kill(workerPid, 'SIGSTOP');
  try {
    const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    await Promise.all(sockets.map((socket) => new Promise((sent) => socket.write(request, sent))));
  } finally {
    process.kill(workerPid, 'SIGCONT');
  }
  const counts = Object.groupBy(await Promise.all(statuses), (status) => status);
  assert.deepEqual([counts['200']?.length, counts['429']?.length], [CAPACITY, 3_000 - CAPACITY]);
});

test('B30: workers replaced under load admit nothing for an empty bucket', async (t) => {
  const sluice = await startLimited(t, 2);
  while ((await ask(sluice.proxyUrl)).status === 200);
  const load = startLoad({ url: sluice.proxyUrl, connections: 16, headers: { connection: 'close' } });
  t.after(() => load.stop());
  for (let killed = 0; killed < 3; killed++) {
    const [victim] = sluice.workerPids();
    assert.ok(victim !== undefined);
    process.kill(victim, 'SIGKILL');
    await waitFor('the replacement to serve', async () => {
      const workers = await workersOf(sluice.adminUrl);
      const fresh = workers.filter(({ pid }) => pid !== victim);
      return fresh.length === 2 && fresh.every(({ requestsTotal }) => requestsTotal > 20);
    });
  }
  assert.equal((await load.stop()).statuses['200'], undefined);
});
