import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { loadLuaScript } from '../../src/infra/redis/lua-scripts.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';
import { retryDelayMs } from '../../src/infra/redis/redis-client.ts';
import { bucketScripts } from '../../src/limit/store/redis-bucket-store.ts';
import { startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { startFaultyWire } from './faulty-wire.ts';

function connect(url: string) {
  const lines: string[] = [];
  const reasons: (string | undefined)[] = [];
  const logger = makeLogger({ level: 'silent', format: 'json' });
  const record = ({ err }: { err?: Error | null }, msg = ''): void => {
    if (msg === 'still no connection to Redis, trying again') reasons.push(err?.message);
    else lines.push(msg);
  };
  Object.assign(logger, { info: record, warn: record });
  const connection = new RedisConnection({
    servers: { kind: 'single', url },
    connectionName: 'sluice-test',
    scripts: bucketScripts(),
    logger,
  });
  return { connection, lines, reasons };
}

test('loading the Redis client does not slow down strings', () => {
  setFlagsFromString('--allow-natives-syntax');
  const isQuick: (prototype: object) => boolean = new Function('o', 'return %HasFastProperties(o)') as never;
  assert.equal(
    isQuick(String.prototype),
    true,
    'String.prototype is a hash table: see src/infra/redis/redis-client.ts',
  );
});

test('a connection to Redis logs once that Redis is away, why, and once that it is back, however many attempts it takes', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { connection, lines, reasons } = connect(server.url);
  t.after(() => connection.close());
  await waitFor('the connection', () => connection.ready);
  await server.stop();
  let attempts = 0;
  connection.client.on('reconnecting', () => attempts++);
  await waitFor('several attempts', () => attempts >= 3);
  assert.equal(connection.ready, false);
  assert.match(connection.failure ?? '', /ECONNREFUSED/);
  assert.deepEqual([...new Set(reasons)], reasons, 'each reason once');
  assert.match(reasons.at(-1) ?? '', /ECONNREFUSED/);
  await server.start();
  await waitFor('the connection again', () => connection.ready);
  assert.equal(connection.failure, null);
  assert.deepEqual(lines, [
    'connected to Redis',
    'no connection to Redis, trying again',
    'connected to Redis',
  ]);
});

test('a connection to Redis logs once that Redis is read-only, reconnects until it is not, and logs once that it accepts writes', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { connection, lines } = connect(server.url);
  t.after(() => connection.close());
  const operator = connect(server.url).connection;
  t.after(() => operator.close());
  await waitFor('both connections', () => connection.ready && operator.ready);
  await operator.client.replicaof('127.0.0.1', '1');
  let connections = 0;
  connection.client.on('ready', () => connections++);
  const canWrite = async () => {
    if (!connection.ready) return false;
    return (await connection.watchReply(connection.client.set('key', 'value'), 0).catch(() => null)) === 'OK';
  };
  const read = () => connection.watchReply(connection.client.get('key'), 0).catch(() => null);
  await waitFor('three connections anew', async () => {
    await read();
    return (await canWrite()) || connections >= 3;
  });
  assert.deepEqual(lines, ['connected to Redis', 'Redis is read-only, connecting anew']);
  await operator.client.replicaof('no', 'one');
  await waitFor('a write', canWrite);
  await waitFor('the line about writes', () => lines.length === 3);
  for (let i = 0; i < 10; i++) await canWrite();
  assert.deepEqual(lines.slice(2), ['Redis takes writes again']);
  await server.stop();
  await waitFor('the line about the lost connection', () => lines.length === 4);
  await server.start();
  await waitFor('the line about the new connection', () => lines.length === 5);
  assert.deepEqual(lines.slice(3), ['no connection to Redis, trying again', 'connected to Redis']);
});

test('a connection to Redis is not ready if Redis refuses the database of the URL', async (t) => {
  const server = await startRedis({ args: ['--databases', '4'] });
  t.after(() => server.stop());
  const right = connect(`${server.url}/3`);
  t.after(() => right.connection.close());
  await waitFor('the connection to database 3', () => right.connection.ready);
  const wrong = connect(`${server.url}/4`);
  t.after(() => wrong.connection.close());
  await waitFor('the connection to be made', () => wrong.connection.client.status === 'ready');
  assert.equal(wrong.connection.ready, false);
  assert.deepEqual(wrong.lines, ['no connection to Redis, trying again']);
});

test('a connection to Redis ends its first attempt when it is ready, refused, or timed out', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { connection } = connect(server.url);
  t.after(() => connection.close());
  await connection.waitForFirstAttempt(5_000);
  assert.equal(connection.ready, true);
  await connection.waitForFirstAttempt(5_000);
  await server.stop();
  const refused = connect(server.url);
  t.after(() => refused.connection.close());
  await refused.connection.waitForFirstAttempt(60_000);
  assert.equal(refused.connection.ready, false);
  // 192.0.2.0/24 is unassigned (RFC 5737): unreachable or silent, in both cases the wait must end.
  const silent = connect('redis://192.0.2.1:6379');
  t.after(() => silent.connection.close());
  await silent.connection.waitForFirstAttempt(50);
  assert.equal(silent.connection.ready, false);
});

test('a connection to Redis rejects commands at once while disconnected, and never sends them later', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  await server.stop();
  const { connection } = connect(server.url);
  t.after(() => connection.close());
  await assert.rejects(connection.client.incr('counter'));
  await server.start();
  await waitFor('the connection', () => connection.ready);
  assert.equal(await connection.client.get('counter'), null);
});

test('a connection to Redis rejects commands in flight when it breaks, and does not send them again', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { connection } = connect(server.url);
  t.after(() => connection.close());
  await waitFor('the connection', () => connection.ready);
  server.signal('SIGSTOP');
  const counted = connection.client.incr('counter');
  counted.catch(() => undefined);
  const { client } = connection;
  assert.ok('stream' in client);
  await waitFor('the bytes to leave', () => client.stream.writableLength === 0);
  client.stream.destroy();
  await assert.rejects(counted);
  server.signal('SIGCONT');
  await waitFor('the connection again', () => connection.ready);
  const count = Number(await connection.client.get('counter'));
  assert.ok(count <= 1, `counted ${count} times`);
});

test('a connection to Redis reconnects if a reply never completes, even while bytes keep arriving', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const wire = await startFaultyWire(server.port);
  t.after(() => wire.close());
  const { connection, lines } = connect(wire.url);
  t.after(() => connection.close());
  await waitFor('the connection', () => connection.ready);
  const ask = (): Promise<unknown> =>
    connection.watchReply(connection.client.get('key'), 0).catch(() => 'failed');
  assert.equal(await ask(), null);
  wire.announceTooMuch = true;
  const startMs = performance.now();
  // Sent one after the other; their results do not matter, only that bytes arrive.
  const answered = async (): Promise<boolean> => (await Promise.race([ask(), delay(20)])) === null;
  await waitFor('a reply again', answered, { timeoutMs: 5_000, everyMs: 20 });
  assert.ok(performance.now() - startMs > 1_000, 'the reply was not lost');
  assert.equal(wire.announceTooMuch, false);
  assert.deepEqual(lines, [
    'connected to Redis',
    'no connection to Redis, trying again',
    'connected to Redis',
  ]);
});

test('a connection to Redis closes within its deadline while Redis is frozen', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { connection } = connect(server.url);
  await waitFor('the connection', () => connection.ready);
  server.signal('SIGSTOP');
  const startMs = performance.now();
  await connection.close(100);
  assert.ok(performance.now() - startMs < 1_000);
  await waitFor('the socket to be gone', () => connection.client.status === 'end', { timeoutMs: 500 });
});

test('a connection to Redis retries after 50 ms, then twice as long each time, up to about a second', () => {
  const delays = [0, 1, 2, 3, 4, 5, 50].map((attempt) => retryDelayMs(attempt, () => 0));
  assert.deepEqual(delays, [50, 100, 200, 400, 800, 1_000, 1_000]);
  assert.equal(
    retryDelayMs(50, () => 0.5),
    1_050,
  );
});

test('loadLuaScript reads the number of keys from the file name and refuses a name without one', () => {
  assert.equal('numberOfKeys' in loadLuaScript('take-tokens-n.lua'), false);
  assert.throws(() => loadLuaScript('take-tokens.lua'), /how many keys/);
  assert.throws(() => loadLuaScript('missing-1.lua'), { code: 'ENOENT' });
});

test('B32: a process that is stalled for two seconds with a command in flight gets its reply on the same connection', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { connection, lines } = connect(server.url);
  t.after(() => connection.close());
  await waitFor('the connection', () => connection.ready);
  const ask = () => connection.watchReply(connection.client.get('key'), 0);
  const reply = ask();
  await new Promise(setImmediate);
  const endMs = performance.now() + 2_000;
  while (performance.now() < endMs);
  // Sent after the stall, before the loop has read the first reply.
  assert.deepEqual(await Promise.all([reply, ask()]), [null, null]);
  assert.deepEqual(lines, ['connected to Redis']);
});

test('B32: a connection to a silent server is given up, at the connect and later', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const { connection } = connect(server.url);
  t.after(() => connection.close());
  await waitFor('the connection', () => connection.ready);
  let connections = 0;
  connection.client.on('connect', () => connections++);
  server.signal('SIGSTOP');
  const ask = () => connection.watchReply(connection.client.get('key'), 0).catch(() => null);
  await waitFor(
    'the end of the silent connection',
    () => {
      void ask();
      return !connection.ready;
    },
    { timeoutMs: 5_000 },
  );
  await waitFor('two connections that became silent too', () => connections >= 2);
  server.signal('SIGCONT');
  await waitFor('the connection again', () => connection.ready);
});
