import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { Server } from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import { LbError, systemCodeOf } from '../../../src/contract/errors.ts';
import { startAdminServer } from '../../../src/primary/admin/server.ts';
import { connectRaw, exchangeRaw } from '../../support/raw-http.ts';
import { adminSettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { makeFakeParts } from './fake-parts.ts';
import { assertProblem, CONFIG, callPort, settingsOf, startAdmin } from './harness.ts';

test('an unknown path gets 404, a known one with another method 405 with Allow', async (t) => {
  const { call } = await startAdmin(t);
  for (const path of [
    '/nowhere',
    '/api/v1',
    '/api/v1/client',
    '/API/v1/clients',
    '/api/v1/clients/a/b',
    '/livez/',
    '/api/v1/clients/a/keys/1/2',
    '//livez',
  ]) {
    for (const method of ['GET', 'POST', 'DELETE', 'PROPFIND'])
      assertProblem(await call({ path, method }), 404);
  }
  const cases = [
    ['/livez', 'GET, HEAD', ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND', 'QUERY']],
    ['/api/v1/clients', 'GET, HEAD, POST', ['PUT', 'PATCH', 'DELETE', 'TRACE']],
    ['/api/v1/clients/a%2Fb', 'GET, HEAD, DELETE, PUT, PATCH', ['POST', 'OPTIONS']],
    ['/api/v1/pools/app/backends/one/drain', 'POST', ['GET', 'HEAD', 'PUT']],
    ['/api/v1/reload?x', 'POST', ['GET']],
    ['/api/v1/config', 'GET, HEAD', ['POST']],
  ] as const;
  for (const [path, allow, methods] of cases) {
    for (const method of methods) {
      const answer = await call({ path, method });
      assert.equal(answer.headers.allow, allow, `${method} ${path}`);
      if (method === 'HEAD') assert.equal(answer.status, 405);
      else assertProblem(answer, 405);
    }
  }
  const headers = { 'content-type': 'text/plain' };
  assertProblem(await call({ path: '/nowhere', method: 'POST', headers, body: '{' }), 404);
  assertProblem(await call({ path: '/livez', method: 'POST', headers, body: '{' }), 405);
});

test('no compiler of schemas is loaded but the one of its own', async (t) => {
  await startAdmin(t);
  const loaded = Object.keys(createRequire(import.meta.url).cache);
  assert.ok(
    loaded.some((path) => path.includes('/fastify/')),
    'modules of packages are seen',
  );
  assert.deepEqual(
    loaded.filter((path) => /\/(ajv|[\w-]+-compiler)\//.test(path)),
    [],
  );
});

test('HEAD answers like GET without a body', async (t) => {
  const { call } = await startAdmin(t);
  for (const path of [
    '/livez',
    '/readyz',
    '/metrics',
    '/api/v1/clients',
    '/api/v1/pools',
    '/api/v1/workers',
    '/openapi.json',
  ]) {
    const get = await call({ path });
    const head = await call({ path, method: 'HEAD' });
    assert.deepEqual([head.status, head.text], [get.status, ''], path);
    assert.equal(head.headers['content-length'], get.headers['content-length']);
    assert.equal(head.headers['content-type'], get.headers['content-type']);
  }
});

test('B34: every answer of the admin port carries its own X-Request-Id, errors included', async (t) => {
  const { call, port } = await startAdmin(t);
  const seen = new Set<string>();
  const headers = { 'x-request-id': 'chosen-by-a-stranger' };
  for (const path of [
    '/livez',
    '/readyz',
    '/metrics',
    '/api/v1/clients',
    '/openapi.json',
    '/nowhere',
    '/api/v1/audit',
    '/%zz',
  ]) {
    const id = String((await call({ path, headers })).headers['x-request-id']);
    assert.match(id, /^[A-Za-z0-9._-]{8,128}$/, path);
    assert.notEqual(id, headers['x-request-id']);
    seen.add(id);
  }
  const raw = [
    'GET /livez HTTP/1.1\r\nbad header\r\n\r\n',
    'NONSENSE\r\n\r\n',
    'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: wonders\r\n\r\n',
    `GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`,
  ];
  const statuses = [];
  for (const bytes of raw) {
    const answer = await exchangeRaw({ port }, bytes);
    statuses.push(answer.status);
    assert.equal(answer.header('content-type'), 'application/problem+json');
    const body: { requestId: string; status: number } = JSON.parse(answer.body.toString());
    assert.equal(body.requestId, answer.header('x-request-id'));
    assert.equal(body.status, answer.status);
    seen.add(body.requestId);
  }
  assert.deepEqual(statuses, [400, 400, 417, 431]);
  assert.equal(seen.size, 12);
});

test('a request that does not arrive completely gets 408, and its connection is closed', async (t) => {
  const { port, parts } = await startAdmin(t, { options: { requestMs: 300 } });
  const before = parts.state();
  const starts = [
    'POST /api/v1/clients HTTP/1.1\r\nHost: 127.0.0.1\r\n',
    'POST /api/v1/clients HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"cl',
  ];
  for (const start of starts) {
    const client = await connectRaw({ port });
    t.after(() => client.close());
    client.write(start);
    assert.equal((await client.readResponse()).status, 408);
    await client.waitForClose();
  }
  assert.equal(parts.state(), before);
});

test('a handler that takes too long is answered with 503 at its deadline', async (t) => {
  const { call, parts } = await startAdmin(t, { options: { handlerMs: 100 } });
  const gate = Promise.withResolvers<void>();
  parts.clients.gate = gate.promise;
  const answer = await call({ method: 'PUT', path: '/api/v1/clients/acme', body: {} });
  assertProblem(answer, 503);
  assert.match(String(answer.headers['retry-after']), /^[1-9]\d*$/);
  gate.resolve();
  assert.equal((await call({ path: '/api/v1/clients/acme' })).status, 200, 'the port lives on');
  const broken = Promise.withResolvers<void>();
  parts.clients.gate = broken.promise;
  assertProblem(await call({ path: '/api/v1/clients/acme' }), 503);
  broken.reject(new Error('failed at last'));
  await waitFor('the late failure to be logged', () =>
    parts.logLines.some((line) => /failed at last/.test(line)),
  );
});

test('an answer that violates its schema is logged and replaced by a 500', async (t) => {
  const { call, parts } = await startAdmin(t);
  parts.now.serving = -1;
  assertProblem(await call({ path: '/readyz' }), 500);
  assert.equal(parts.logLines.length, 1);
});

test('a change of the log level holds for failed calls too', async (t) => {
  const { call, parts } = await startAdmin(t);
  parts.logger.level = 'error';
  parts.clients.failure = new Error('no luck');
  assertProblem(await call({ path: '/api/v1/clients' }), 500);
  assert.deepEqual(parts.logLines, []);
  parts.logger.level = 'info';
  assertProblem(await call({ path: '/api/v1/clients' }), 500);
  await waitFor('a line', () => parts.logLines.length > 0);
  assert.equal(parts.logLines.length, 1);
});

test('reads log nothing, each write and each refused caller one line', async (t) => {
  const { call, parts } = await startAdmin(t, { settings: { token: 'secret' } });
  const headers = { authorization: 'Bearer secret' };
  await call({ path: '/livez' });
  await call({ path: '/api/v1/clients', headers });
  await call({ path: '/nowhere', headers });
  assert.deepEqual(parts.logLines, []);
  await call({ method: 'PUT', path: '/api/v1/clients/acme?x=1', headers, body: { mode: 'blocked' } });
  await call({ method: 'POST', path: '/api/v1/clients', headers, body: {} });
  await call({ path: '/api/v1/clients', headers: { authorization: 'Bearer guess' } });
  await call({ path: '/api/v1/clients', headers: { host: 'evil.example' } });
  await waitFor('four lines', () => parts.logLines.length >= 4);
  const lines = parts.logLines.map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ level, msg, method, path, status, peer }) => [level, msg, method, path, status, peer]),
    [
      [30, 'admin write', 'PUT', '/api/v1/clients/acme', 201, '127.0.0.1'],
      [30, 'admin write', 'POST', '/api/v1/clients', 422, '127.0.0.1'],
      [40, 'admin call refused', 'GET', '/api/v1/clients', 401, '127.0.0.1'],
      [40, 'admin call refused', 'GET', '/api/v1/clients', 403, '127.0.0.1'],
    ],
  );
  for (const { requestId } of lines) assert.match(requestId, /^[0-9a-f-]{36}$/);
  assert.doesNotMatch(parts.logLines.join(), /secret|guess/);
});

test('refused callers leave a line per address, status and second, however many they are', async (t) => {
  let nowMs = 1_000;
  t.mock.method(systemClock, 'monotonicMs', () => nowMs);
  const { call, parts } = await startAdmin(t, { settings: { token: 'secret' } });
  for (let i = 0; i < 20; i++) assert.equal((await call({ path: '/api/v1/clients' })).status, 401);
  await waitFor('20 counts', () => parts.counted.length === 20);
  assert.equal(parts.logLines.length, 1);
  nowMs += 1_000;
  await call({ path: '/api/v1/clients' });
  await waitFor('another line', () => parts.logLines.length === 2);
});

test('every answer is counted by route pattern and status', async (t) => {
  const { call, parts } = await startAdmin(t);
  await call({ path: '/livez' });
  await call({ path: '/api/v1/clients/acme' });
  await call({ path: '/nowhere' });
  await waitFor('three counts', () => parts.counted.length === 3);
  assert.deepEqual(parts.counted, ['/livez 200', '/api/v1/clients/:clientId 404', '_none 404']);
});

test('many idle connections do not block a probe', async (t) => {
  const { port, call } = await startAdmin(t);
  const crowd = await Promise.all(Array.from({ length: 512 }, () => connectRaw({ port })));
  t.after(() => Promise.all(crowd.map((each) => each.close())));
  assert.equal((await call({ path: '/livez' })).status, 200);
  await crowd[0]?.waitForClose(2_000);
  const last = crowd.at(-1);
  last?.write('GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
  assert.equal((await last?.readResponse())?.status, 200, 'a younger connection stays');
});

test('without IPv6 the port listens on every IPv4 address', async (t) => {
  const listen = Server.prototype.listen;
  t.mock.method(Server.prototype, 'listen', function (this: Server, ...args: unknown[]) {
    if ((args[0] as { host?: string }).host !== '::') return listen.apply(this, args as never);
    const error = Object.assign(new Error('listen EAFNOSUPPORT'), { code: 'EAFNOSUPPORT' });
    process.nextTick(() => this.emit('error', error));
    return this;
  });
  const server = await startAdminServer(adminSettings({ host: '::' }), makeFakeParts(settingsOf(CONFIG)));
  t.after(() => server.close());
  const { port } = new URL(server.url);
  assert.equal((await callPort(Number(port), { path: '/livez' })).status, 200);
});

test('close ends idle connections at once and cuts busy ones at its deadline', async (t) => {
  const admin = await startAdmin(t, { options: { closeMs: 200 } });
  const gate = Promise.withResolvers<void>();
  t.after(() => gate.resolve());
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const idle = await connectRaw({ port: admin.port });
  t.after(() => idle.close());
  idle.write('GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
  assert.equal((await idle.readResponse()).status, 200);
  let calls = 0;
  admin.parts.metrics = async () => {
    calls++;
    await gate.promise;
    return '';
  };
  const stuck = request({ port: admin.port, host: '127.0.0.1', path: '/metrics', agent });
  const failed = new Promise<string | null>((resolve) =>
    stuck.on('error', (error) => resolve(systemCodeOf(error))),
  );
  stuck.end();
  await waitFor('the call to reach its handler', () => calls === 1);
  await Promise.all([admin.close(), idle.waitForClose(2_000)]);
  assert.equal(await failed, 'ECONNRESET');
  await assert.rejects(callPort(admin.port, { path: '/livez' }), { code: 'ECONNREFUSED' });
});

test('an answer under way when the port closes is still sent', async (t) => {
  const admin = await startAdmin(t, { options: { closeMs: 5_000 } });
  const gate = Promise.withResolvers<void>();
  let calls = 0;
  admin.parts.metrics = async () => {
    calls++;
    await gate.promise;
    return 'late 1\n';
  };
  const answer = admin.call({ path: '/metrics' });
  await waitFor('the call to reach its handler', () => calls === 1);
  const closed = admin.close();
  gate.resolve();
  assert.equal((await answer).text, 'late 1\n');
  await closed;
});

test('a busy port is listen_failed with the system’s cause; names and IPv6 addresses work', async (t) => {
  const { port } = await startAdmin(t);
  const parts = makeFakeParts(settingsOf(CONFIG));
  await assert.rejects(startAdminServer(adminSettings({ port }), parts), (error: unknown) => {
    assert.ok(error instanceof LbError && error.code === 'listen_failed');
    assert.equal(systemCodeOf(error.cause), 'EADDRINUSE');
    return true;
  });
  await assert.rejects(startAdminServer(adminSettings({ host: 'no-such-host.invalid' }), parts), {
    code: 'listen_failed',
  });
  const named = await startAdminServer(adminSettings({ host: 'localhost' }), parts);
  t.after(() => named.close());
  assert.match(named.url, /^http:\/\/localhost:\d+$/);
  assert.equal((await fetch(`${named.url}/livez`)).status, 200);
});
