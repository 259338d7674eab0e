import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectRaw } from '../support/raw-http.ts';
import { waitFor, within } from '../support/wait.ts';
import { ok, startCapturingBackend, startProxy } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

test('B38: new connections and requests are still served in the time of grace', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const early = await proxy.connect();
  const drained = proxy.server.drain({ graceMs: 300, drainMs: 5_000 });
  const late = await proxy.connect();
  for (const client of [early, late]) {
    client.write(GET);
    const answer = await client.readResponse();
    assert.equal(answer.status, 200);
    assert.equal(answer.header('connection'), null);
  }
  await within(drained, 2_000, 'the drain: idle connections must not delay it');
  for (const client of [early, late]) await client.waitForClose();
  await assert.rejects(connectRaw(proxy.url), { code: 'ECONNREFUSED' });
});

test('B38: what is in flight is finished with Connection: close, and the drain ends with it', async (t) => {
  const backend = await startCapturingBackend(t, ({ target }) => (target === '/' ? null : ok('x')));
  const proxy = await startProxy(t, { backends: [backend] });
  const [busy, idle, unused] = [await proxy.connect(), await proxy.connect(), await proxy.connect()];
  idle.write('GET /x HTTP/1.1\r\nHost: a\r\n\r\n');
  await idle.readResponse();
  busy.write(GET);
  await waitFor('the request at the backend', () => backend.requests.length === 2);
  let ended = false;
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 10_000 }).then(() => {
    ended = true;
  });
  await idle.waitForClose();
  await unused.waitForClose();
  assert.equal(ended, false, 'the drain did not wait for the request');
  backend.sockets[backend.requests[1]?.connection ?? 0]?.write(ok('late'));
  const answer = await busy.readResponse();
  assert.equal(answer.body.toString(), 'late');
  assert.equal(answer.header('connection'), 'close');
  await busy.waitForClose();
  await within(drained, 2_000, 'the drain to end with the last request');
});

test('B38: an answer whose head left before the drain ends its connection when it is over', async (t) => {
  const backend = await startCapturingBackend(
    t,
    () => 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(GET);
  await client.waitForBytes('\r\n\r\n');
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 10_000 });
  backend.sockets[0]?.write('1\r\nx\r\n0\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), 'x');
  await within(drained, 2_000, 'the drain to end with the answer');
});

test('B38: a head that was half received is served, with Connection: close', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHo');
  await waitFor('the bytes to be read', () => proxy.server.connectionCount === 1);
  const probe = await proxy.connect();
  probe.write(GET);
  await probe.readResponse();
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 10_000 });
  client.write('st: a\r\n\r\n');
  const answer = await client.readResponse();
  assert.equal(answer.status, 200);
  assert.equal(answer.header('connection'), 'close');
  await within(drained, 2_000, 'the drain to end');
});

test('B38: what is not over after the time for it is cut', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(GET);
  await waitFor('the request at the backend', () => backend.requests.length === 1);
  await within(proxy.server.drain({ graceMs: 0, drainMs: 200 }), 2_000, 'the drain to end');
  await client.waitForClose();
  await waitFor('the backend connection to close', () => backend.closedCount === 1);
  assert.equal(proxy.handler.requestsInFlight, 0);
});
