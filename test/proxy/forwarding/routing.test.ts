import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { pool, route, startProxy } from '../support.ts';

test('requests go to the pool of the first route that matches host, path and method', async (t) => {
  const one = await startCapturingBackend(t, () => ok('one'));
  const two = await startCapturingBackend(t, () => ok('two'));
  const proxy = await startProxy(t, {
    pools: [pool('one', [one.port]), pool('two', [two.port])],
    routes: [
      route('api', { host: '*.example.com', path: '/api/', methods: ['GET'] }, { pool: 'one' }),
      route('rest', {}, { pool: 'two' }),
    ],
  });
  const client = await proxy.connect();
  const cases: [method: string, host: string, path: string, body: string][] = [
    ['GET', 'www.Example.com:80', '/api/x', 'one'],
    ['POST', 'www.example.com', '/api/x', 'two'],
    ['GET', 'example.com', '/api/x', 'two'],
    ['GET', 'www.example.com', '/api', 'two'],
  ];
  for (const [method, host, path, body] of cases) {
    client.write(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\n\r\n`);
    assert.equal((await client.readResponse()).body.toString(), body, `${method} ${host}${path}`);
  }
  assert.deepEqual(
    proxy.lines.map((line) => line.route),
    ['api', 'rest', 'rest', 'rest'],
  );
});

test('no route makes a 404; a route that matches except for the method makes a 405 with Allow', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    routes: [
      route('a', { path: '/a', methods: ['GET', 'HEAD'] }),
      route('a2', { path: '/a', methods: ['PUT'] }),
    ],
  });
  const client = await proxy.connect();
  client.write('GET /none HTTP/1.1\r\nHost: a\r\n\r\n');
  const none = await client.readResponse();
  assert.equal(none.status, 404);
  assert.match(JSON.parse(none.body.toString()).type, /\/no_route$/);
  assert.equal(JSON.parse(none.body.toString()).requestId, none.header('x-request-id'));
  client.write('DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n');
  const wrong = await client.readResponse();
  assert.equal(wrong.status, 405);
  assert.equal(wrong.header('allow'), 'GET, HEAD, PUT');
  assert.deepEqual(
    proxy.lines.map(({ reason, route: name }) => [reason, name]),
    [
      ['no_route', null],
      ['method_not_allowed', null],
    ],
  );
  assert.equal(proxy.metric('sluice_requests_total', '_none', '404'), 1);
  assert.equal(proxy.metric('sluice_requests_total', '_none', 'DELETE', '405'), 1);
  assert.equal(backend.requests.length, 0);
});

const ROUTES = [
  route('admin', { path: '/admin/' }, { pool: 'closed' }),
  route('health', { path: '/health' }),
  route('rest'),
];

for (const path of [
  '/%61dmin/',
  '/x/../admin/',
  '//admin/',
  '/x//..//../admin/',
  '/x/../admin//..',
  '/admin/../x',
  '/./health',
  '/h%65alth',
]) {
  test(`B27: ${path} matches different routes raw and in normal form, and gets 400`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, {
      pools: [pool('app', [backend.port]), pool('closed', [backend.port])],
      routes: ROUTES,
    });
    const client = await proxy.connect();
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const answer = await client.readResponse();
    assert.equal(answer.status, 400);
    assert.match(JSON.parse(answer.body.toString()).type, /\/problems\/ambiguous_path$/);
    assert.equal(answer.header('connection'), 'close');
    assert.equal(proxy.lines[0]?.reason, 'ambiguous_path');
    assert.equal(backend.requests.length, 0);
  });
}

for (const path of [
  '/a/../b',
  '/a//b',
  '/%7Euser',
  '/admin/x/../y',
  '/admin/%61',
  '/x%2f..%2fadmin/',
  '/?q=../admin/%00',
]) {
  test(`B27: ${path} matches one route and is forwarded byte for byte`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, {
      pools: [pool('app', [backend.port]), pool('closed', [backend.port])],
      routes: ROUTES,
    });
    const client = await proxy.connect();
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.equal((await client.readResponse()).status, 200);
    assert.equal(backend.requests[0]?.target, path);
  });
}
