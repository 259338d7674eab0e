import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { connectRaw } from '../../support/raw-http.ts';
import { waitFor, within } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

test('B38: new connections and requests are still served during the grace', async (t) => {
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
  await within(drained, 2_000, 'the drain to end despite idle connections');
  for (const client of [early, late]) await client.waitForClose();
  await assert.rejects(connectRaw(proxy.url), { code: 'ECONNREFUSED' });
});

test('B38: requests in flight are answered with Connection: close, and the drain ends with the last', async (t) => {
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

test('B38: an answer whose head was sent before the drain closes its connection at its end', async (t) => {
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

test('B38: a request whose head was half received is served, with Connection: close', async (t) => {
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

test('B38: an empty line delays the drain at most by the headers timeout', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], timeouts: { headersMs: 100 } });
  const client = await proxy.connect();
  client.write(GET);
  await client.readResponse();
  client.write('\r\n');
  const probe = await proxy.connect();
  probe.write(GET);
  await probe.readResponse();
  await within(proxy.server.drain({ graceMs: 0, drainMs: 30_000 }), 6_000, 'the drain to end');
  await client.waitForClose();
});

test('B38: requests that outlast the drain are cut', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(GET);
  await waitFor('the request at the backend', () => backend.requests.length === 1);
  await within(proxy.server.drain({ graceMs: 0, drainMs: 200 }), 2_000, 'the drain to end');
  await client.waitForClose();
  await waitFor('the backend connection to close', () => backend.closedCount === 1);
  assert.equal(proxy.handler.traffic.inFlight, 0);
  assert.deepEqual(
    proxy.lines.map(({ reason, status }) => [reason, status]),
    [['shutdown', 499]],
    'the client must not have disconnected itself',
  );
});

test('B38: a client that keeps pipelining does not delay the drain', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend] });
  const answerAt = (count: number) =>
    waitFor(`request ${count} at the backend`, () => backend.requests[count - 1]).then(({ connection }) =>
      backend.sockets[connection]?.write(ok('x')),
    );
  const client = await proxy.connect();
  client.write(GET + GET);
  await waitFor('the first request at the backend', () => backend.requests.length === 1);
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 20_000 });
  await answerAt(1);
  assert.equal(
    (await client.readResponse()).header('connection'),
    null,
    'the second request was sent before the drain',
  );
  client.write(GET + GET);
  await answerAt(2);
  assert.equal((await client.readResponse()).header('connection'), 'close');
  await within(drained, 8_000, 'the drain to end');
  assert.equal(backend.requests.length, 2);
});

/** Clients in another thread, which connect while this thread is blocked and accepts nobody. */
const QUEUING_CLIENTS = `
const { workerData, parentPort } = require('node:worker_threads');
const { connect } = require('node:net');
const { port, count, cells } = workerData;
Atomics.wait(cells, 0, 0);
const answers = [];
for (let i = 0; i < count; i++) {
  let text = '';
  const socket = connect(port, '127.0.0.1', () => {
    socket.write('GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n');
    Atomics.add(cells, 1, 1);
    Atomics.notify(cells, 1);
  });
  socket.on('data', (chunk) => { text += chunk; });
  socket.on('error', (error) => { text += error.code; });
  socket.on('close', () => {
    if (answers.push(text.slice(0, 12)) === count) parentPort.postMessage(answers);
  });
}
`;

test('B38: connections that wait in the accept queue at the end of the grace are answered', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const count = 20;
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const clients = new Worker(QUEUING_CLIENTS, { eval: true, workerData: { port: proxy.port, count, cells } });
  t.after(() => clients.terminate());
  await once(clients, 'online');
  Atomics.store(cells, 0, 1);
  Atomics.notify(cells, 0);
  const blockedUntilMs = performance.now() + 5_000;
  while (Atomics.load(cells, 1) < count && performance.now() < blockedUntilMs)
    Atomics.wait(cells, 1, Atomics.load(cells, 1), 100);
  assert.equal(Atomics.load(cells, 1), count, 'not all have connected');
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 5_000 });
  const [answers] = await within(once(clients, 'message'), 5_000, 'all answers');
  assert.deepEqual([...new Set(answers)], ['HTTP/1.1 200']);
  await within(drained, 2_000, 'the drain to end');
});

test('B38: a patient drain lets idle connections end with their next answer, and closes the rest after a while', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const [seldom, never] = [await proxy.connect(), await proxy.connect()];
  const beganMs = performance.now();
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 4_500, patient: true });
  const passed = (ms: number) => performance.now() - beganMs >= ms;
  await waitFor('more time than a drain in a hurry has', () => passed(700));
  seldom.write(GET);
  const answer = await seldom.readResponse();
  assert.equal(answer.status, 200);
  assert.equal(answer.header('connection'), 'close');
  await never.waitForClose();
  assert.ok(passed(1_400), 'an idle connection was closed too early');
  await within(drained, 2_000, 'the drain to end despite an idle connection');
});

test('B38: a patient drain ends idle connections at once when the whole instance stops', async (t) => {
  const proxy = await startProxy(t, { backends: [await startCapturingBackend(t)] });
  const client = await proxy.connect();
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 60_000, patient: true });
  proxy.server.hurry();
  await client.waitForClose();
  await within(drained, 2_000, 'the drain to end');
});
