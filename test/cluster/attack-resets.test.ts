/** Two real workers between clients and backends that reset, break off, lie about lengths and half-close at every point of an exchange. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { Random } from '../fuzz/random.ts';
import { startRawBackend } from '../support/backend.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { makeAttack } from './attack.ts';
import { metricOf, poolOf, workersOf } from './support.ts';

const CLIENTS = 2_000;
const CONCURRENT = 100;

const openFiles = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;

test('B39: thousands of resets by clients and backends end no worker, leak nothing, and each request is counted once', async (t) => {
  const seed = randomInt(2 ** 32);
  const attack = makeAttack(new Random(seed));
  const backends = [await startRawBackend(attack.backend), await startRawBackend(attack.backend)];
  t.after(() => Promise.all(backends.map((backend) => backend.close())));
  const second = '1s';
  const sluice = await startSluice({
    config: {
      workers: 2,
      pools: poolOf(backends, { timeouts: { response: second, idle: second } }),
      timeouts: { headers: second, bodyIdle: second },
    },
  });
  t.after(() => sluice.stop());
  const port = Number(new URL(sluice.proxyUrl).port);
  const pids = (await workersOf(sluice.adminUrl)).map(({ pid }) => pid);
  const filesBefore = pids.map(openFiles);
  let started = 0;
  const received: string[] = [];
  const loop = async () => {
    while (started++ < CLIENTS) received.push(await attack.client(port));
  };
  await Promise.all(Array.from({ length: CONCURRENT }, loop));

  for (const name of [
    'sluice_requests_in_flight',
    'sluice_backend_in_flight',
    'sluice_connections_open',
    'sluice_tunnels_open',
  ] as const) {
    await waitFor(`${name} to be 0`, async () => (await metricOf(sluice.adminUrl, name)) === 0);
  }
  assert.deepEqual(
    (await workersOf(sluice.adminUrl)).map(({ pid }) => pid),
    pids,
  );
  // Closing the backends also closes the connections that Sluice has parked.
  await Promise.all(backends.map((backend) => backend.close()));
  const filesNow = () => pids.map(openFiles);
  await waitFor(`file descriptors as before, ${filesBefore} (seed ${seed})`, () =>
    filesNow().every((count, i) => count <= (filesBefore[i] ?? 0)),
  ).catch((error: Error) => assert.fail(`${error.message}: ${filesNow()}`));
  const logged = () => sluice.jsonLines((line) => 'bytesOut' in line);
  const counted = await metricOf(sluice.adminUrl, 'sluice_requests_total');
  await waitFor(`${counted} access lines`, () => logged().length >= (counted ?? 0));
  const tunnels = await metricOf(sluice.adminUrl, 'sluice_requests_total', { code: '101' });
  assert.ok((tunnels ?? 0) > 0, 'no tunnel was opened');
  const ids = new Set(logged().map(({ requestId }) => requestId));
  assert.equal(logged().length, counted);
  assert.equal(ids.size, counted, 'a request has two lines');
  for (const [, id] of received.join('').matchAll(/\r\nX-Request-Id: (\S+)\r\n/g)) assert.ok(ids.has(id));
  const errors = sluice.jsonLines((line) => !('bytesOut' in line) && Number(line.level) >= 50);
  assert.deepEqual(errors, []);
  assert.deepEqual(sluice.stderr, []);
});
