/** Callers of the admin port who send more than they wait for, or do not read what they asked for. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { connectRaw } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { type Admin, assertProblem, startAdmin } from './harness.ts';

const LIVEZ = 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n';
const METRICS = LIVEZ.replace('livez', 'metrics');

async function connectTo(t: TestContext, { port }: Admin) {
  const client = await connectRaw({ port });
  t.after(() => client.close());
  return client;
}

test('a connection with more than eight unanswered requests is closed, and the rest of them is not looked at', async (t) => {
  const admin = await startAdmin(t);
  const polite = await connectTo(t, admin);
  for (let round = 0; round < 3; round++) {
    polite.write(LIVEZ.repeat(8));
    for (let i = 0; i < 8; i++) assert.equal((await polite.readResponse()).status, 200);
  }
  const before = admin.parts.counted.length;
  const greedy = await connectTo(t, admin);
  greedy.write(LIVEZ.repeat(1_000));
  await greedy.waitForClose();
  assert.equal((await admin.call({ path: '/livez' })).status, 200);
  assert.ok(admin.parts.counted.length - before <= 9, `${admin.parts.counted.length - before} were served`);
});

test('where too many scrapes are under way a further one gets 503; probes and other calls are answered', async (t) => {
  const { call, parts } = await startAdmin(t);
  const gate = Promise.withResolvers<string>();
  let begun = 0;
  parts.metrics = () => {
    begun++;
    return gate.promise;
  };
  const scrapes = Array.from({ length: 16 }, () => call({ path: '/metrics' }));
  await waitFor('16 scrapes', () => begun === 16);
  const refused = await call({ path: '/metrics' });
  assertProblem(refused, 503);
  assert.equal(refused.headers['retry-after'], '1');
  for (const path of ['/livez', '/readyz', '/api/v1/pools'])
    assert.equal((await call({ path })).status, 200, path);
  gate.resolve('up 1\n');
  for (const { status } of await Promise.all(scrapes)) assert.equal(status, 200);
  assert.equal((await call({ path: '/metrics' })).status, 200, 'the places are free again');
});

test('who does not read an answer makes room for who does', async (t) => {
  const admin = await startAdmin(t);
  const { call, parts } = admin;
  const text = 'x'.repeat(6 << 20);
  let made = 0;
  parts.metrics = async () => {
    made++;
    return text;
  };
  const deaf = await Promise.all(Array.from({ length: 8 }, () => connectTo(t, admin)));
  for (const client of deaf) {
    client.socket.pause();
    client.write(METRICS.repeat(2));
  }
  await waitFor('16 answers', () => made === 16);
  const { status, text: read } = await call({ path: '/metrics' });
  assert.deepEqual([status, read.length], [200, text.length]);
});

test('calls begin in turns of their own, so that others wait for one of them at most', async (t) => {
  const admin = await startAdmin(t);
  let turn = 0;
  let watching = true;
  t.after(() => {
    watching = false;
  });
  void (async () => {
    for (; watching; turn++) await nextTurn();
  })();
  const begun: number[] = [];
  const status = admin.parts.board.status.bind(admin.parts.board);
  t.mock.method(admin.parts.board, 'status', () => {
    begun.push(turn);
    return status();
  });
  const client = await connectTo(t, admin);
  client.write(LIVEZ.replace('/livez', '/api/v1/status').repeat(6));
  for (let i = 0; i < 6; i++) assert.equal((await client.readResponse()).status, 200);
  assert.equal(new Set(begun).size, 6, begun.join());
});

test('the history of a second is made once for all who ask, and in eight lengths of each access at most', async (t) => {
  const { call, parts } = await startAdmin(t, { settings: { token: 'writer', readToken: 'reader' } });
  const listeners = new Set<() => void>();
  t.mock.method(parts.board, 'onSample', (listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  });
  const made = t.mock.method(parts.board, 'history');
  const get = (seconds: number, token = 'reader') =>
    call({
      path: `/api/v1/history?seconds=${seconds}`,
      headers: { authorization: `Bearer ${token}` },
    });
  const first = await get(60);
  assert.equal(first.headers['content-type'], 'application/json; charset=utf-8');
  assert.deepEqual((await get(60)).json, first.json);
  assert.equal(made.mock.callCount(), 1);
  for (let seconds = 1; seconds <= 7; seconds++) assert.equal((await get(seconds)).status, 200);
  assertProblem(await get(8), 503);
  assert.equal((await get(60)).status, 200);
  assert.equal(made.mock.callCount(), 8);
  assert.equal((await get(8, 'writer')).status, 200, 'a reader takes none of who may write');
  assert.equal((await get(3_600)).status, 200, 'the whole hour is always there');
  for (const sampled of listeners) sampled();
  assert.equal(listeners.size, 0, 'nobody listens while nothing is kept');
  assert.equal((await get(8)).status, 200);
});
