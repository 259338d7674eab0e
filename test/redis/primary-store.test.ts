import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { MemoryBucketStore } from '../../src/limit/store/memory-bucket-store.ts';
import { PrimaryStore } from '../../src/primary/buckets/primary-store.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { openOperator } from './connect.ts';
import { PATIENT_MS } from './limiter-fleet.ts';

const at = ({ url }: RedisServer, prefix = 'sluice') => ({
  servers: { kind: 'single' as const, url },
  prefix,
  timeoutMs: PATIENT_MS,
});

async function openStore(t: TestContext, server: RedisServer) {
  const own = { workers: 1 };
  const counts: (number | null)[] = [];
  const logged: unknown[] = [];
  const events: string[] = [];
  const lines: string[] = [];
  const write = (line: string) => {
    lines.push(line);
    const { msg, workers } = JSON.parse(line);
    if (msg === 'the number of workers that share the store has changed') logged.push(workers);
  };
  const store = await PrimaryStore.open({
    redis: at(server),
    memory: new MemoryBucketStore(systemClock),
    workers: () => own.workers,
    assumedWorkers: () => own.workers,
    onStoreWorkers: (count) => counts.push(count),
    events: { record: ({ text }) => void events.push(text.replace(/ 127.*/, '')) },
    logger: makeLogger({ level: 'info', format: 'json' }, { out: { write } }),
  });
  t.after(() => store.close());
  await waitFor('the first beat', () => counts.length > 0);
  return { store, own, counts, logged, events, lines };
}

test('B37: until a store that a reload prepares is in force, no event, no line and no share tells of it', async (t) => {
  const [first, second] = await Promise.all([startRedis(), startRedis()]);
  t.after(() => Promise.all([first.stop(), second.stop()]));
  const { store, own, counts, logged, events } = await openStore(t, first);
  await assert.rejects(
    store.prepare({ ...at(first), servers: { kind: 'single', url: 'redis://127.0.0.1:1' } }),
    { code: 'store_unavailable' },
  );
  assert.deepEqual(events, ['connected to Redis']);
  await first.stop();
  await waitFor('the reason why the store is away', () => events.length > 2);
  own.workers = 4;
  const refused = await store.prepare(at(second));
  await refused?.cancel();
  const accepted = await store.prepare(at(second));
  const told = ['connected to Redis', 'no connection to Redis', 'no connection to Redis: connection refused'];
  assert.deepEqual({ counts, logged, events }, { counts: [1], logged: [1], events: told });
  const finish = accepted?.commit([]);
  const [both, toldAll] = [
    [1, 4],
    [...told, 'connected to Redis'],
  ];
  assert.deepEqual({ counts, logged, events }, { counts: both, logged: both, events: toldAll });
  await finish?.();
});

test('a Redis that begins to ask for a password, and a wrong one in a reload, are told with their reason and without the password', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const operator = await openOperator(server.url);
  t.after(() => operator.close());
  const { store, events, lines } = await openStore(t, server);
  await operator.client.config('SET', 'requirepass', 'right-one');
  await operator.client.call('CLIENT', 'KILL', 'TYPE', 'normal');
  await waitFor('the reason', () => events.some((text) => text.startsWith('no connection to Redis: NOAUTH')));
  assert.match(store.connection?.failure ?? '', /^NOAUTH/);
  const wrong = {
    ...at(server),
    servers: { kind: 'single' as const, url: server.url.replace('//', '//:wrong-one@') },
  };
  await assert.rejects(store.prepare(wrong), /^LbError: the new bucket store does not answer: WRONGPASS /);
  const { href: right } = Object.assign(new URL(server.url), { password: 'right-one' });
  const accepted = await store.prepare({ ...at(server), servers: { kind: 'single', url: right } });
  accepted?.commit([]);
  assert.equal(store.connection?.failure, null);
  const told = lines.join('') + events.join('');
  assert.match(told, /NOAUTH.*WRONGPASS/s);
  assert.doesNotMatch(told, /(?:right|wrong)-one/);
});

test('B37: who stops while a reload prepares or leaves a store signs off there, too', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const operator = await openOperator(server.url);
  t.after(() => operator.close());
  const { store } = await openStore(t, server);
  const accepted = await store.prepare(at(server, 'second'));
  accepted?.commit([]);
  await store.prepare(at(server, 'third'));
  const announced = () => operator.client.keys('*:instances');
  assert.equal((await announced()).length, 3);
  await store.close();
  assert.deepEqual(await announced(), []);
});

test('B37: who stops waits for a store that a reload is leaving', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { store } = await openStore(t, server);
  const change = await store.prepare(null);
  const finish = change?.commit([]);
  let isLeft = false;
  void finish?.().then(() => {
    isLeft = true;
  });
  await store.close();
  assert.ok(isLeft, 'it may not have signed off');
});
