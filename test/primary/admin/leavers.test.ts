/** Callers of the admin port who leave before they are answered. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { connectRaw } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { type Admin, assertProblem, startAdmin } from './harness.ts';

const requestOf = (path: string) => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
const DRAIN = requestOf('/api/v1/pools/app/backends/one/drain').replace('GET', 'POST');

/** Busy, for so long, with each GET of this path. */
function slowStatus(t: TestContext, { parts }: Admin, busyMs: number) {
  const status = parts.board.status.bind(parts.board);
  return t.mock.method(parts.board, 'status', () => {
    const untilMs = performance.now() + busyMs;
    while (performance.now() < untilMs);
    return status();
  });
}

const writesOf = ({ parts }: Admin) => parts.events.entries.filter(({ kind }) => kind === 'admin');

for (const path of ['/api/v1/events', '/api/v1/requests'])
  test(`readers of ${path} who leave before their turn are not counted`, async (t) => {
    const admin = await startAdmin(t);
    const status = slowStatus(t, admin, 30);
    const leavers = await Promise.all(Array.from({ length: 60 }, () => connectRaw({ port: admin.port })));
    const waiting = Array.from({ length: 5 }, () => admin.call({ path: '/api/v1/status' }));
    await waitFor('a turn', () => status.mock.callCount() > 0);
    for (const leaver of leavers) {
      // The second one of a connection has no `close` of its own.
      leaver.write(requestOf(path).repeat(2));
      leaver.reset();
    }
    await Promise.all(waiting);
    const reader = await connectRaw({ port: admin.port });
    t.after(() => reader.close());
    reader.write(requestOf(path));
    await reader.waitForBytes('HTTP/1.1 200 ');
  });

test('a connection takes the place of one reader', async (t) => {
  const admin = await startAdmin(t);
  const open = async (count: number) => {
    const client = await connectRaw({ port: admin.port });
    t.after(() => client.close());
    client.write(requestOf('/api/v1/requests').repeat(count));
    await client.waitForBytes('HTTP/1.1 200 ');
  };
  for (const count of [8, 1, 1, 1]) await open(count);
  assert.equal((await admin.call({ path: '/api/v1/status' })).status, 200);
});

test('calls whose callers have left take no turn, and do nothing', async (t) => {
  const admin = await startAdmin(t);
  const status = slowStatus(t, admin, 30);
  const leavers = await Promise.all(Array.from({ length: 20 }, () => connectRaw({ port: admin.port })));
  const first = admin.call({ path: '/api/v1/status' });
  await waitFor('a turn', () => status.mock.callCount() > 0);
  for (const leaver of leavers) {
    leaver.write(requestOf('/api/v1/status').repeat(7));
    leaver.write(DRAIN);
    leaver.reset();
  }
  assert.equal((await first).status, 200);
  assert.equal((await admin.call({ path: '/api/v1/status' })).status, 200);
  assert.ok(status.mock.callCount() < 20, `${status.mock.callCount()} were served`);
  assert.deepEqual(writesOf(admin), []);
});

test('a call whose deadline runs out before its turn does nothing', async (t) => {
  const admin = await startAdmin(t, { options: { handlerMs: 50 } });
  slowStatus(t, admin, 150);
  const client = await connectRaw({ port: admin.port });
  t.after(() => client.close());
  client.write(requestOf('/api/v1/status') + DRAIN);
  assert.equal((await client.readResponse()).status, 200);
  const { status, body } = await client.readResponse();
  assert.equal(status, 503);
  assert.match(body.toString(), /nothing was done/);
  assert.equal((await admin.call({ path: '/api/v1/session' })).status, 200);
  assert.deepEqual(writesOf(admin), []);
});

test('calls of a token that may only read wait behind those of whoever may write', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'writer', readToken: 'reader' } });
  const status = slowStatus(t, admin, 10);
  // Calls of the reader have their turns while a drain is written to the file.
  t.mock.method(admin.parts.health, 'save', async () => undefined);
  const [writer, reader] = [await connectRaw({ port: admin.port }), await connectRaw({ port: admin.port })];
  for (const client of [writer, reader]) t.after(() => client.close());
  const as = (token: string, request: string) =>
    request.replace('Host', `Authorization: Bearer ${token}\r\nHost`);
  reader.write(as('reader', requestOf('/api/v1/status')).repeat(8));
  await waitFor('a turn', () => status.mock.callCount() > 0);
  writer.write(as('writer', DRAIN));
  assert.equal((await writer.readResponse()).status, 200);
  assert.ok(status.mock.callCount() < 8, 'all calls of the reader were served before');
  for (let i = 0; i < 8; i++) assert.equal((await reader.readResponse()).status, 200);
});

for (const isLate of [false, true])
  test(`a handler keeps its place until it has ended, also where its caller ${isLate ? 'has a 503' : 'has left'}`, async (t) => {
    const { call, parts, port } = await startAdmin(t, { options: isLate ? { handlerMs: 500 } : {} });
    const gate = Promise.withResolvers<string>();
    let begun = 0;
    parts.metrics = () => {
      begun++;
      return gate.promise;
    };
    const leavers = await Promise.all(Array.from({ length: 16 }, () => connectRaw({ port })));
    for (const leaver of leavers) {
      t.after(() => leaver.close());
      leaver.write(requestOf('/metrics'));
    }
    await waitFor('the scrapes', () => begun === 16);
    for (const leaver of leavers) {
      if (isLate) await leaver.waitForBytes('HTTP/1.1 503 ');
      else leaver.reset();
    }
    assert.equal((await call({ path: '/livez' })).status, 200);
    assertProblem(await call({ path: '/metrics' }), 503);
    assert.equal(begun, 16);
    gate.resolve('up 1\n');
    assert.equal((await call({ path: '/metrics' })).status, 200, 'the places are free again');
  });
