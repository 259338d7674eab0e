import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { policy, pool, route, startProxy } from '../support.ts';

const PATH = '/.well-known/acme-challenge/';
const REDIRECT = route('secure', {}, { pool: null, redirect: { scheme: 'https', status: 308 } });

test('an open challenge is answered before routes, redirects and limits; other paths there go to the routes', async (t) => {
  const challenges = new Map([['token-1', 'token-1.thumbprint']]);
  const backend = await startCapturingBackend(t, () => ok('served'));
  const proxy = await startProxy(t, {
    challenges,
    pools: [pool('app', [backend.port])],
    policies: [policy('default', 1, 0.001)],
    routes: [
      route('posts', { methods: ['POST'] }),
      { ...REDIRECT, rateLimit: { policies: ['default'], cost: 1 } },
    ],
  });
  const client = await proxy.connect();
  const ask = async (method: string, path: string) => {
    client.write(`${method} ${path} HTTP/1.1\r\nHost: any.example\r\nContent-Length: 0\r\n\r\n`);
    return client.readResponse({ method });
  };
  for (let i = 0; i < 3; i++) {
    const answer = await ask('GET', `${PATH}token-1`);
    assert.deepEqual(
      [answer.status, answer.body.toString(), answer.header('content-type')],
      [200, 'token-1.thumbprint', 'application/octet-stream'],
    );
  }
  const head = await ask('HEAD', `${PATH}token-1`);
  assert.deepEqual([head.status, head.header('content-length')], [200, '18']);
  assert.equal((await ask('POST', `${PATH}token-1`)).body.toString(), 'served');
  assert.equal((await ask('GET', `${PATH}token-2`)).header('location'), `https://any.example${PATH}token-2`);
  assert.equal((await ask('GET', PATH)).status, 429);
  const [line] = proxy.lines;
  assert.deepEqual(
    [line?.status, line?.reason, line?.route, line?.bytesOut, line?.attempts],
    [200, 'ok', null, 18, 0],
  );
  assert.equal(proxy.metric('sluice_requests_total', '_none', 'GET', '200'), 3);
  challenges.clear();
  assert.equal((await ask('GET', `${PATH}token-1`)).status, 429);
});
