/** Requests that wait while backends change their rank, and which of them go first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitsSettings, poolSettings, retrySettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('B11: requests that wait for a backend go to its backup as soon as it is down', async (t) => {
  const main = await startCapturingBackend(t, () => null);
  const backup = await startCapturingBackend(t);
  const one = { host: '127.0.0.1', tls: false, weight: 1 };
  const backends = [
    { ...one, id: 'main', port: main.port, backup: false },
    { ...one, id: 'backup', port: backup.port, backup: true },
  ];
  const limits = limitsSettings({ maxConcurrentPerBackend: 1, queueTimeoutMs: 10_000 });
  const proxy = await startProxy(t, { pools: [poolSettings({ backends, limits })] });
  for (let count = 1; count <= 2; count++) {
    const client = await proxy.connect();
    client.write(`GET /${count} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await waitFor(`request ${count}`, () => proxy.handler.traffic.inFlight === count);
  }
  await waitFor('the first at its backend', () => main.requests.length === 1);
  assert.equal(backup.requests.length, 0);
  proxy.backend('main').standing = 'out';
  await waitFor('the other at the backup', () => backup.requests.length === 1);
  assert.equal(backup.requests[0]?.target, '/2');
});

test('B11: requests from before a reload that wait for their backend do not stop those that may go to a new one', async (t) => {
  const old = await startCapturingBackend(t, () => null);
  const fresh = await startCapturingBackend(t, () => null);
  const app = { limits: limitsSettings({ maxConcurrentPerBackend: 1, queueTimeoutMs: 10_000 }) };
  const proxy = await startProxy(t, { backends: [old], app });
  const ask = async (count: number) => {
    const client = await proxy.connect();
    client.write(`GET /${count} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await waitFor(`request ${count}`, () => proxy.handler.traffic.inFlight === count);
  };
  for (const count of [1, 2, 3]) await ask(count);
  proxy.reload({ backends: [old, fresh], app });
  for (const count of [4, 5]) await ask(count);
  await waitFor('/4 at the new backend', () => fresh.requests.length === 1);
  fresh.sockets[0]?.write(ok('ok'));
  await waitFor('/5 at the new backend', () => fresh.requests.length === 2);
  assert.equal(fresh.requests[1]?.target, '/5');
  assert.equal(old.requests.length, 1);
});

test('B11: a retry that found no room in time is not counted as shed where the answer before it passes on', async (t) => {
  const held = await startCapturingBackend(t, () => null);
  const busy = await startCapturingBackend(t, () => 'HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy');
  const app = {
    limits: limitsSettings({ maxConcurrentPerBackend: 1, queueTimeoutMs: 50 }),
    retry: retrySettings({ onStatus: [503] }),
  };
  const proxy = await startProxy(t, { backends: [held, busy], app });
  const [first, second] = [await proxy.connect(), await proxy.connect()];
  first.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitFor('the first', () => held.requests.length === 1);
  second.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await second.readResponse()).body.toString(), 'busy');
  assert.equal(proxy.metric('sluice_shed_total', 'queue'), 0);
});
