import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend } from '../../support/backend.ts';
import { connectH2 } from '../../support/h2-client.ts';
import { waitFor } from '../../support/wait.ts';
import { pool, startProxy } from '../support.ts';

const MAX_CONCURRENT = 2;
/** More than the kernel buffers for a client that reads nothing. */
const LARGE = Buffer.alloc(16 << 20);

for (const protocol of ['HTTP/1.1', 'HTTP/2'] as const) {
  test(`clients of ${protocol} that do not read their answers do not hold the places of others at a backend`, async (t) => {
    const backend = await startBackend((request, response) => {
      response.end(request.url === '/large' ? LARGE : 'small');
    });
    t.after(() => backend.close());
    const limits = { maxConcurrentPerBackend: MAX_CONCURRENT, queue: 10, queueTimeoutMs: 10_000 };
    const pools = [pool('app', [backend.port], { limits })];
    const proxy = await startProxy(t, { pools, h2c: protocol === 'HTTP/2' });
    const slow = Array.from({ length: MAX_CONCURRENT }, async () => {
      if (protocol === 'HTTP/2') {
        const stream = connectH2(t, proxy.url).request({ ':path': '/large' });
        stream.on('error', () => undefined);
        t.after(() => stream.destroy());
        return;
      }
      const client = await proxy.connect();
      client.socket.pause();
      client.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
    });
    await Promise.all(slow);
    const [planned] = [...proxy.plan().backends()];
    await waitFor('the places to be taken', () => planned?.backend.inFlight === MAX_CONCURRENT);
    const quick = await proxy.connect();
    quick.write('GET /small HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await quick.readResponse({ timeoutMs: 9_000 })).body.toString(), 'small');
    assert.equal(planned?.backend.inFlight, MAX_CONCURRENT);
    await waitFor('no place to be taken', () => planned?.backend.busy === 0);
  });
}
