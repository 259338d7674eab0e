/** Which requests count for whom, on both engines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startCapturingBackend } from '../capturing-backend.ts';
import { engineOf, policy, route, startProxy } from '../support.ts';

for (const engine of ['wire', 'node'] as const) {
  test(`a request counts for its caller, a limited one besides; what the parser refuses counts nowhere (${engine})`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, {
      backends: [backend],
      policies: [policy('default', 3, 0.001)],
      routes: [route('api', { path: '/api/' }, { rateLimit: { policies: ['default'], cost: 1 } })],
      trustedProxies: ['127.0.0.1'],
      engine: engineOf(engine),
    });
    const ask = async (path: string, address: string) => {
      const client = await proxy.connect();
      client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${address}\r\n\r\n`);
      const { status } = await client.readResponse();
      client.close();
      return status;
    };
    const statuses = [];
    for (let i = 0; i < 5; i++) statuses.push(await ask('/api/x', '192.0.2.1'));
    assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
    assert.equal(await ask('/none', '192.0.2.2'), 404);
    const bad = await proxy.connect();
    bad.write('GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n');
    assert.equal((await bad.readResponse()).status, 400);
    const shown = (by: 'requests' | 'limited') => {
      const { items } = proxy.handler.callers.top(by, performance.now());
      const unit = items.reduce(
        (least, each) => Math.min(least, each.requestsPerSec),
        Number.POSITIVE_INFINITY,
      );
      return items.map(({ name, requestsPerSec, limitedPerSec }) => [
        name,
        Math.round(requestsPerSec / unit),
        Math.round(limitedPerSec / unit),
      ]);
    };
    assert.deepEqual(shown('requests'), [
      ['192.0.2.1', 5, 2],
      ['192.0.2.2', 1, 0],
    ]);
    assert.deepEqual(
      shown('limited').map(([name]) => name),
      ['192.0.2.1'],
    );
  });
}
