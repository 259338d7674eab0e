import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { Redis } from 'ioredis';
import pg from 'pg';
import { startBackend, startRawBackend } from './backend.ts';
import { isRunning, runToEnd, spawnChild } from './child.ts';
import { makeDatabase, startPostgres } from './postgres.ts';
import { connectRaw, exchangeRaw } from './raw-http.ts';
import { startRedis } from './redis.ts';
import { untilStill, waitFor } from './wait.ts';

test('a wait that times out says what was missing and what was seen last', async () => {
  await assert.rejects(
    waitFor('the moon to turn green', () => 0, { timeoutMs: 30 }),
    /30 ms in vain: the moon to turn green \(last: 0\)/,
  );
  const failing = waitFor('x', () => Promise.reject(new Error('boom')), { timeoutMs: 30 });
  await assert.rejects(failing, /last: boom/);
});

test('untilStill waits for a number that has begun and changes no more', async () => {
  let asked = 0;
  assert.equal(await untilStill('x', () => (asked++ < 3 ? 0 : Math.min(asked, 9)), { quietMs: 50 }), 9);
  await assert.rejects(
    untilStill('the moon', () => 0, { quietMs: 1, timeoutMs: 30 }),
    /the moon to stand still/,
  );
  await assert.rejects(
    untilStill('the sea', () => ++asked, { quietMs: 20, timeoutMs: 100 }),
    /the sea to stand still/,
  );
});

test('a child that leaves a grandchild behind is reported, and the grandchild is killed', async (t) => {
  const child = spawnChild('sh', ['-c', 'trap "" TERM; sleep 600 & echo grandchild $!; exec sleep 0.2']);
  t.after(() => child.kill());
  const line = await child.waitForLine('grandchild');
  const grandchild = Number(line.split(' ')[1]);
  assert.ok(isRunning(grandchild));
  await assert.rejects(child.stop('SIGTERM', 500), /leave no process behind/);
  assert.equal(isRunning(grandchild), false);
});

test('a child that does not exist fails with its name', async () => {
  await assert.rejects(runToEnd('no-such-program-at-all', []), /cannot run no-such-program-at-all/);
});

test('a child that exits before the awaited line fails at once with its output', async (t) => {
  const child = spawnChild('sh', ['-c', 'echo broken; echo worse >&2; exit 3']);
  t.after(() => child.kill());
  await assert.rejects(child.waitForLine('ready'), /exited before[\s\S]*"code":3[\s\S]*broken[\s\S]*worse/);
  assert.deepEqual(await child.stop(), { code: 3, signal: null });
});

test('a throw-away Redis answers, restarts empty on its port, and is gone after stop', async (t) => {
  const server = await startRedis({ password: 'p@ss word' });
  t.after(() => server.stop());
  const client = new Redis(server.url, { lazyConnect: true, retryStrategy: () => 20 });
  client.on('error', () => undefined);
  t.after(() => client.disconnect());
  await client.connect();
  await client.set('a', '1');
  const firstPid = server.pid;
  server.signal('SIGSTOP');
  await server.restart();
  assert.notEqual(server.pid, firstPid);
  assert.equal(
    await waitFor('the client to be back', async () => (await client.get('a')) ?? 'empty'),
    'empty',
  );
  const { pid } = server;
  await server.stop();
  assert.equal(isRunning(pid), false);
});

test('a throw-away PostgreSQL keeps its data over a restart and vanishes with remove', async (t) => {
  const server = await startPostgres();
  t.after(() => server.remove());
  const [url, other] = [await makeDatabase(server), await makeDatabase(server)];
  assert.notEqual(url, other);
  const run = async (text: string) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  };
  await run('create table t (x int); insert into t values (7)');
  await server.restart();
  assert.deepEqual(await run('select x from t'), [{ x: 7 }]);
  const [{ data_directory: folder }] = await run('show data_directory');
  const { pid } = server;
  await server.remove();
  assert.equal(isRunning(pid), false);
  assert.equal(existsSync(folder), false);
});

test('the raw client reads chunked bodies with trailers, interim answers and HEAD', async (t) => {
  const backend = await startBackend((request, response) => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' });
    response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] });
    response.write('hello ');
    response.addTrailers({ 'x-sum': '42' });
    response.end(request.method === 'HEAD' ? undefined : 'world');
  });
  t.after(() => backend.close());
  const client = await connectRaw(backend.url);
  t.after(() => client.close());
  client.write('HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const head = await client.readResponse({ method: 'HEAD' });
  assert.equal(head.body.length, 0);
  const got = await client.readResponse();
  assert.equal(got.body.toString(), 'hello world');
  assert.deepEqual(got.trailers, [['x-sum', '42']]);
  assert.deepEqual(got.all('Set-Cookie'), ['a=1', 'b=2']);
  assert.equal(got.interims[0]?.status, 103);
  assert.equal(backend.requestCount, 2);
  assert.equal(backend.connectionCount, 1);
});

test('the raw client takes a body that ends with the connection', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.end('HTTP/1.0 200 Fine\r\n\r\nuntil the end'));
  });
  t.after(() => backend.close());
  const got = await exchangeRaw(backend.url, 'GET / HTTP/1.0\r\n\r\n');
  assert.equal(got.body.toString(), 'until the end');
  assert.equal(got.reason, 'Fine');
});
