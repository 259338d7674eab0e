/** Whose failure a request is: what the alert counts, and what a viewer of failures sees. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failureOf, meantStatus, type RequestEnd } from '../../../src/contract/request-failure.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, engineOf, startProxy } from '../support.ts';

const FAILURES = 'sluice_request_failures_total';

for (const engine of ['wire', 'node'] as const) {
  test(`failures are counted by whose they are: not by the status that was sent (${engine})`, async (t) => {
    const backend = await startCapturingBackend(t, ({ target }, socket) => {
      if (target === '/ok') return ok('');
      if (target === '/500') return 'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n';
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
      return null;
    });
    const proxy = await startProxy(t, { backends: [backend], engine: engineOf(engine) });
    const filter = { client: null, route: null, slowerThanMs: null };
    proxy.live.watch(1, { ...filter, status: { from: 500, to: 599 } });
    proxy.live.watch(2, { ...filter, status: { from: 200, to: 200 } });
    const ask = async (start: string, status: number) => {
      const client = await proxy.connect();
      client.write(`${start}\r\nHost: a\r\n\r\n`);
      await waitFor(`the line of ${start}`, () => proxy.lines.length === 1);
      client.close();
      assert.equal(proxy.lines.pop()?.status, status);
    };
    await ask('GET /ok HTTP/1.1', 200);
    await ask('CONNECT a:443 HTTP/1.1', 501);
    await ask('GET / HTTP/3.0', 505);
    await ask('NONSENSE', 400);
    assert.equal(proxy.metric(FAILURES), 0, 'a client is to blame for these');
    assert.equal(proxy.metric('sluice_requests_total', '_none', '505'), 1);
    await ask('GET /cut HTTP/1.1', 200);
    await ask('GET /500 HTTP/1.1', 500);
    assert.equal(proxy.metric(FAILURES, 'default', 'upstream_reset'), 1);
    assert.equal(proxy.metric(FAILURES, 'default', 'answered'), 1);
    assert.equal(proxy.metric(FAILURES), 2);
    const seen = (viewer: number) =>
      proxy.watched.flatMap(({ id, lines }) => (id === viewer ? lines : [])).map((line) => JSON.parse(line));
    await waitFor('what the viewers see', () => seen(1).length === 4 && seen(2).length === 2);
    assert.deepEqual(
      seen(1).map(({ status, path, failure }) => [status, path, failure]),
      [
        [501, null, 'client'],
        [505, null, 'client'],
        [200, '/cut', 'server'],
        [500, '/500', 'server'],
      ],
    );
  });

  test(`bytes that never become a request have no duration, which would be their client's patience (${engine})`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [backend], engine: engineOf(engine) });
    for (const text of ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'NONSENSE\r\n\r\n']) {
      const client = await proxy.connect();
      client.write(text);
      await client.readResponse();
      client.close();
    }
    await accessLineOf(proxy, ({ status }) => status === 400);
    assert.equal(proxy.metric('sluice_requests_total', '_none', '400'), 1);
    assert.equal(proxy.metric('sluice_request_duration_seconds', '_none'), 0);
    assert.equal(proxy.metric('sluice_request_duration_seconds', 'default'), 1);
  });
}

test('a call of gRPC fails by its status, and what Sluice refuses by its reason', () => {
  const ends: [RequestEnd, ReturnType<typeof failureOf>, meant: number][] = [
    [{ reason: 'ok', status: 200, grpcStatus: 0 }, 'none', 200],
    [{ reason: 'ok', status: 200, grpcStatus: null }, 'none', 200],
    [{ reason: 'ok', status: 304, grpcStatus: null }, 'none', 304],
    [{ reason: 'ok', status: 404, grpcStatus: null }, 'client', 404],
    [{ reason: 'ok', status: 503, grpcStatus: null }, 'server', 503],
    [{ reason: 'ok', status: 200, grpcStatus: 8 }, 'client', 429],
    [{ reason: 'ok', status: 200, grpcStatus: 12 }, 'client', 404],
    ...[2, 13, 15, 77].map((grpcStatus): [RequestEnd, 'server', number] => [
      { reason: 'ok', status: 200, grpcStatus },
      'server',
      500,
    ]),
    [{ reason: 'ok', status: 200, grpcStatus: 4 }, 'server', 504],
    [{ reason: 'ok', status: 200, grpcStatus: 14 }, 'server', 503],
    [{ reason: 'limited', status: 200, grpcStatus: 8 }, 'client', 429],
    [{ reason: 'body_too_large', status: 200, grpcStatus: 13 }, 'client', 413],
    [{ reason: 'connect_failed', status: 200, grpcStatus: 14 }, 'server', 502],
    [{ reason: 'internal_error', status: 200, grpcStatus: null }, 'server', 500],
    [{ reason: 'bad_request', status: 505, grpcStatus: null }, 'client', 505],
    [{ reason: 'client_abort', status: 499, grpcStatus: null }, 'client', 499],
    [{ reason: 'shutdown', status: 499, grpcStatus: null }, 'server', 499],
  ];
  for (const [end, failure, meant] of ends)
    assert.deepEqual([failureOf(end), meantStatus(end)], [failure, meant], JSON.stringify(end));
});
