/** The limit that follows latency, between a client and a backend. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitsSettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

test('with `adaptive: latency` a backend has few requests until its latency is known, and the excess is 503 after 100 ms', async (t) => {
  const held: (() => void)[] = [];
  let isQuick = false;
  const backend = await startCapturingBackend(t, (_request, socket) => {
    if (isQuick) return ok('ok');
    held.push(() => socket.write(ok('ok')));
    return null;
  });
  const app = { adaptive: 'latency', limits: limitsSettings({ queueTimeoutMs: 10_000 }) } as const;
  const proxy = await startProxy(t, { backends: [backend], app });
  const clients = await Promise.all(Array.from({ length: 10 }, () => proxy.connect()));
  for (const client of clients) client.write(GET);
  await waitFor('the excess to be refused', () => proxy.metric('sluice_shed_total', 'queue') === 7);
  assert.equal(held.length, 3);
  for (const answer of held) answer();
  const statuses = await Promise.all(clients.map(async (client) => (await client.readResponse()).status));
  assert.deepEqual(statuses.sort(), [200, 200, 200, 503, 503, 503, 503, 503, 503, 503]);
  isQuick = true;
  const { limit: before } = proxy.plan().backends().next().value?.adaptive ?? { limit: 0 };
  await waitFor('the limit to grow with its use', async () => {
    for (const client of clients) client.write(GET);
    for (const client of clients) assert.equal((await client.readResponse()).status, 200);
    return (proxy.plan().backends().next().value?.adaptive?.limit ?? 0) > before;
  });
  proxy.reload({ backends: [backend], app: { adaptive: 'latency', limits: limitsSettings() } });
  assert.ok((proxy.plan().backends().next().value?.adaptive?.limit ?? 0) > before, 'a reload keeps it');
  const stop = t.mock.method(proxy.plan().backends().next().value?.adaptive ?? assert.fail(), 'stop');
  proxy.reload({ backends: [backend] });
  assert.equal(proxy.plan().backends().next().value?.adaptive, null);
  assert.equal(stop.mock.callCount(), 1, 'a measurement under way would set its limit again');
});

test('answers that have begun and go on take no place of the limit that follows latency, but one of `maxConcurrentPerBackend`', async (t) => {
  const backend = await startCapturingBackend(t, ({ target }) =>
    target === '/stream' ? 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n' : ok('ok'),
  );
  const limits = limitsSettings({ maxConcurrentPerBackend: 5, queue: 1, queueTimeoutMs: 50 });
  const options = (adaptive: 'latency' | 'off') => ({ backends: [backend], app: { adaptive, limits } });
  const proxy = await startProxy(t, options('latency'));
  const target = [...proxy.plan().backends()][0] ?? assert.fail();
  const stream = async () => {
    const client = await proxy.connect();
    client.write('GET /stream HTTP/1.1\r\nHost: a\r\n\r\n');
    await waitFor('the answer to begin', () => client.received.includes('200 OK'));
    return client;
  };
  const statusOf = async () => {
    const client = await proxy.connect();
    client.write(GET);
    return (await client.readResponse()).status;
  };
  const streams = [await stream(), await stream(), await stream(), await stream()];
  assert.equal(target.backend.busy, 4);
  assert.equal(await statusOf(), 200);
  streams.push(await stream());
  assert.equal(await statusOf(), 503);
  proxy.reload(options('off'));
  assert.equal(await statusOf(), 503);
  proxy.reload(options('latency'));
  streams.pop()?.close();
  await waitFor('the end of a stream', () => target.backend.busy === 4);
  assert.equal(await statusOf(), 200);
  for (const client of streams) client.close();
  await waitFor('the end of all', () => target.backend.busy === 0);
  assert.equal(target.backend.awaited, 0);
});

test('bodies that come slowly take no place of the limit that follows latency until they have come', async (t) => {
  const held: (() => void)[] = [];
  const backend = await startCapturingBackend(t, ({ method }, socket) => {
    if (method === 'GET') return ok('ok');
    held.push(() => socket.write(ok('ok')));
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend], app: { adaptive: 'latency' } });
  const target = [...proxy.plan().backends()][0] ?? assert.fail();
  const uploads = await Promise.all(Array.from({ length: 3 }, () => proxy.connect()));
  for (const client of uploads)
    client.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
  await waitFor('three uploads', () => target.backend.busy === 3);
  await waitFor('their places', () => target.backend.awaited === 0);
  const client = await proxy.connect();
  client.write(GET);
  assert.equal((await client.readResponse()).status, 200);
  for (const each of uploads) each.write('0\r\n\r\n');
  await waitFor('the whole uploads', () => held.length === 3);
  assert.equal(target.backend.awaited, 3);
  client.write(GET);
  assert.equal((await client.readResponse()).status, 503);
  for (const answer of held) answer();
  for (const each of uploads) assert.equal((await each.readResponse()).status, 200);
  await waitFor('the end of all', () => target.backend.busy === 0);
  assert.equal(target.backend.awaited, 0);
});

test('the time that a client takes to send its body is no latency of the backend', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('ok'));
  const proxy = await startProxy(t, { backends: [backend], app: { adaptive: 'latency' } });
  const { adaptive } = [...proxy.plan().backends()][0] ?? assert.fail();
  const samplesMs: number[] = [];
  t.mock.method(adaptive ?? assert.fail(), 'sample', (latencyMs: number) => samplesMs.push(latencyMs));
  const client = await proxy.connect();
  const beginMs = performance.now();
  client.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  await waitFor('a slow body', () => performance.now() - beginMs > 1_000);
  client.write('0\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  client.write(GET);
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(samplesMs.length, 2);
  assert.ok(Math.max(...samplesMs) < 900, `${samplesMs}`);
});

test('a client that leaves before the answer tells how long it has waited, unless its body has not come', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], app: { adaptive: 'latency' } });
  const target = [...proxy.plan().backends()][0] ?? assert.fail();
  const waitedMs: number[] = [];
  t.mock.method(target.adaptive ?? assert.fail(), 'abandoned', (ms: number) => waitedMs.push(ms));
  const upload = await proxy.connect();
  upload.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  const client = await proxy.connect();
  client.write(GET);
  await waitFor('both requests to arrive', () => target.backend.inFlight === 2);
  upload.close();
  client.close();
  await waitFor('both to be over', () => target.backend.inFlight === 0);
  assert.equal(waitedMs.length, 1);
});
