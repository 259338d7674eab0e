/** Requests that wait while backends change their rank. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitsSettings, poolSettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
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
