import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { heartbeatScripts, InstanceHeartbeat } from '../../src/primary/instance-heartbeat.ts';
import { startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { connectTo, openOperator } from './connect.ts';

const EVERY_MS = 40;
const GONE_AFTER_MS = 400;
const KEY = 'sluice:instances';

interface Joining {
  workers: number;
  instances?: number;
  goneAfterMs?: number;
}

function join(t: TestContext, url: string, { workers, instances = 1, goneAfterMs = GONE_AFTER_MS }: Joining) {
  const logger = makeLogger({ level: 'silent', format: 'json' });
  const warnings: string[] = [];
  Object.assign(logger, { warn: (_fields: unknown, msg: string) => warnings.push(msg) });
  const connection = connectTo(url, heartbeatScripts());
  t.after(() => connection.close());
  const heard: number[] = [];
  const heartbeat = new InstanceHeartbeat({
    connection,
    prefix: 'sluice',
    workers: () => workers,
    assumedWorkers: () => instances * workers,
    onChange: (count) => heard.push(count),
    logger,
    everyMs: EVERY_MS,
    goneAfterMs,
  });
  t.after(() => heartbeat.close());
  void heartbeat.start();
  return { heartbeat, connection, heard, warnings };
}

test('instances that share a Redis count each other, drop stopped and silent ones, and leave no keys behind', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const first = join(t, server.url, { workers: 4 });
  await waitFor('the first to count itself', () => first.heartbeat.storeWorkers === 4);
  const second = join(t, server.url, { workers: 2 });
  const third = join(t, server.url, { workers: 8 });
  const known = [first, second, third].map(({ heartbeat }) => heartbeat);
  await waitFor('all to count all', () => known.every(({ storeWorkers }) => storeWorkers === 14));
  await third.heartbeat.close();
  await waitFor('the one that stopped to be forgotten', () => first.heartbeat.storeWorkers === 6);
  // No clean stop, as after a loss of power.
  second.connection.client.disconnect();
  await waitFor('the silent one to be forgotten', () => first.heartbeat.storeWorkers === 4);
  assert.ok(second.heartbeat.storeWorkers, 'the last word holds while the store is away');
  const look = await openOperator(server.url);
  t.after(() => look.close());
  assert.ok((await look.client.pttl(KEY)) > 0);
  await first.heartbeat.close();
  assert.equal(await look.client.exists(KEY), 0);
});

test('instances that share a Redis assume the configured number until Redis is read, and an empty Redis does not lower the number', async (t) => {
  // Longer than connections need to reconnect.
  const goneAfterMs = 2_000;
  const server = await startRedis();
  t.after(() => server.stop());
  const first = join(t, server.url, { workers: 2, instances: 5, goneAfterMs });
  await waitFor('the first answer', () => first.heard.length === 1);
  assert.deepEqual(first.heard, [10]);
  await waitFor('the truth', () => first.heartbeat.storeWorkers === 2);
  const second = join(t, server.url, { workers: 2, goneAfterMs });
  await waitFor('both', () => first.heartbeat.storeWorkers === 4 && second.heartbeat.storeWorkers === 4);
  await server.restart();
  const look = await openOperator(server.url);
  t.after(() => look.close());
  await waitFor('both to beat again', async () => (await look.client.zcard(KEY)) === 2);
  assert.deepEqual([first.heard, second.heard], [[10, 2, 4], [4]]);
  assert.equal(first.heartbeat.storeWorkers, 4);
});

test('instances that share a Redis log once that Redis refuses their heartbeat, and keep the last number', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const look = await openOperator(server.url);
  t.after(() => look.close());
  await look.client.set(KEY, 'no sorted set');
  const first = join(t, server.url, { workers: 2, instances: 3 });
  await waitFor('a warning', () => first.warnings.length > 0);
  await look.client.del(KEY);
  await waitFor('an answer', () => first.heartbeat.storeWorkers === 6);
  assert.deepEqual(first.warnings, ['this instance cannot announce itself in Redis']);
});
