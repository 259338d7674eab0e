import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { test } from 'node:test';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { AccessGuard, isKnownAuthority } from '../../../src/primary/admin/security.ts';
import { exchangeRaw } from '../../support/raw-http.ts';
import { adminSettings } from '../../support/settings.ts';
import { assertProblem, startAdmin } from './harness.ts';

const TOKEN = 'tök3n/+=';
/** As clients send it: UTF-8 bytes. */
const BEARER = Buffer.from(`Bearer ${TOKEN}`, 'utf8').toString('latin1');
const clients = '/api/v1/clients';
const silent = makeLogger({ level: 'fatal', format: 'json' });

test('a configured token is required everywhere except for /livez and /readyz, and a 401 asks for it', async (t) => {
  const { call, parts } = await startAdmin(t, { settings: { token: TOKEN } });
  const before = parts.state();
  /** A right token ends the count of wrong ones. */
  const forgive = () => call({ path: '/metrics', headers: { authorization: BEARER } });
  const wrong = [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Bearer x',
    `${BEARER}x`,
    BEARER.slice(0, -1),
    `Basic ${Buffer.from(`admin:${TOKEN}`).toString('base64')}`,
    BEARER.replace('Bearer ', ''),
  ];
  const paths = [
    clients,
    '/api/v1/pools',
    '/api/v1/config',
    '/metrics',
    '/openapi.json',
    '/nowhere',
    '/livez/',
  ];
  for (const authorization of wrong) {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    for (const path of paths) {
      await forgive();
      const answer = await call({ path, headers });
      assertProblem(answer, 401);
      assert.match(String(answer.headers['www-authenticate']), /^Bearer /);
    }
    const drain = '/api/v1/pools/app/backends/one/drain';
    for (const write of [
      { path: clients, body: { clientId: 'x' } },
      { path: '/api/v1/reload' },
      { path: drain },
    ]) {
      await forgive();
      assertProblem(await call({ method: 'POST', headers, ...write }), 401);
    }
    for (const path of ['/livez', '/readyz']) assert.equal((await call({ path, headers })).status, 200);
  }
  assert.equal(parts.state(), before);
  for (const authorization of [BEARER, BEARER.replace('Bearer', 'bearer'), BEARER.replace(' ', '  ')]) {
    for (const path of [clients, '/metrics', '/openapi.json']) {
      assert.equal((await call({ path, headers: { authorization } })).status, 200);
    }
  }
  assert.equal(parts.logLines.filter((line) => line.includes('3n/')).length, 0, 'no token in the log');
});

test('B35: /metrics needs the token when one is set, unless admin.publicMetrics', async (t) => {
  const open = await startAdmin(t);
  assert.equal((await open.call({ path: '/metrics' })).status, 200);
  const closed = await startAdmin(t, { settings: { token: 'x' } });
  assertProblem(await closed.call({ path: '/metrics' }), 401);
  const authorization = 'Bearer x';
  assert.equal((await closed.call({ path: '/metrics', headers: { authorization } })).status, 200);
  const shared = await startAdmin(t, { settings: { token: 'x', publicMetrics: true } });
  assert.equal((await shared.call({ path: '/metrics' })).status, 200);
  assertProblem(await shared.call({ path: clients }), 401);
});

test('tokens are compared by timingSafeEqual, over values of one length whatever was sent', async (t) => {
  const compared: number[][] = [];
  const real = crypto.timingSafeEqual;
  t.mock.method(crypto, 'timingSafeEqual', (a: NodeJS.ArrayBufferView, b: NodeJS.ArrayBufferView) => {
    compared.push([a.byteLength, b.byteLength]);
    return real(a, b);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  const { call } = await startAdmin(t, { settings: { token: 'secret' } });
  const sent = ['secret', 's', 'secreT', 'a-much-longer-token-than-the-right-one'];
  const statuses = [];
  for (const token of sent) {
    statuses.push((await call({ path: clients, headers: { authorization: `Bearer ${token}` } })).status);
  }
  assert.deepEqual(statuses, [200, 401, 401, 401]);
  assert.deepEqual(compared, [
    [32, 32],
    [32, 32],
    [32, 32],
    [32, 32],
  ]);
});

const KNOWN = [
  '127.0.0.1',
  '127.0.0.1:9900',
  '10.1.2.3:80',
  '[::1]',
  '[::1]:9900',
  '[2001:db8::5]',
  'localhost',
  'LOCALHOST:9900',
  'localhost.',
  'sluice.localhost',
  'a.b.localhost:1',
  'admin.internal',
  'Admin.Internal:8443',
];
const FOREIGN = [
  '',
  'evil.example',
  'evil.example:9900',
  // DNS rebinding: an attacker's name that resolves to this machine.
  '127.0.0.1.rebind.example',
  '7f000001.c0a80001.rbndr.us:9900',
  'localhost.evil.example',
  'xlocalhost',
  'notadmin.internal',
  'admin.internal.evil.example',
  '2130706433',
  '0x7f.1',
  '127.1',
  '::1',
  '[evil.example]',
  '[::1',
  'user@127.0.0.1',
  '127.0.0.1:9900:1',
  '127.0.0.1:port',
  '127.0.0.1/x',
  '127.0.0.1, evil.example',
  '.',
];

test('an authority is known when it is an IP literal, a loopback name or listed', () => {
  const hosts = new Set(['admin.internal']);
  for (const authority of KNOWN) assert.equal(isKnownAuthority(authority, hosts), true, authority);
  for (const authority of FOREIGN) assert.equal(isKnownAuthority(authority, hosts), false, authority);
});

test('a foreign Host is refused with 403 everywhere except at /livez, /readyz and /metrics', async (t) => {
  const { call, parts } = await startAdmin(t, { settings: { hosts: ['admin.internal'] } });
  const before = parts.state();
  for (const host of KNOWN)
    assert.equal((await call({ path: clients, headers: { host } })).status, 200, host);
  for (const host of FOREIGN.filter((each) => each !== '')) {
    assertProblem(await call({ path: clients, headers: { host } }), 403);
    assertProblem(await call({ path: '/nowhere', headers: { host } }), 403);
    assertProblem(
      await call({ method: 'POST', path: clients, headers: { host }, body: { clientId: 'x' } }),
      403,
    );
    assertProblem(await call({ method: 'POST', path: '/api/v1/reload', headers: { host } }), 403);
    for (const path of ['/livez', '/readyz', '/metrics', '/metrics?x=1']) {
      assert.equal((await call({ path, headers: { host } })).status, 200, `${host} ${path}`);
    }
  }
  assert.equal(parts.state(), before);
});

test('a foreign Origin, or null, is refused with 403, and nothing changes', async (t) => {
  const { call, parts } = await startAdmin(t, { settings: { hosts: ['admin.internal'] } });
  const before = parts.state();
  const bad = [
    'null',
    'https://evil.example',
    'http://127.0.0.1.rebind.example',
    'http://',
    'evil.example',
    'file://',
    'http://localhost.evil.example:9900',
    'http://[::1].evil.example',
    'http://127.0.0.1, http://evil.example',
  ];
  for (const origin of bad) {
    assertProblem(await call({ path: clients, headers: { origin } }), 403);
    assertProblem(await call({ method: 'POST', path: '/api/v1/reload', headers: { origin } }), 403);
    assertProblem(await call({ method: 'DELETE', path: `${clients}/x`, headers: { origin } }), 403);
    assert.equal((await call({ path: '/metrics', headers: { origin } })).status, 200);
  }
  assert.equal(parts.state(), before);
  const good = [
    'http://127.0.0.1:9900',
    'http://localhost:3000',
    'https://[::1]',
    'https://admin.internal:8443',
  ];
  for (const origin of good) assert.equal((await call({ path: clients, headers: { origin } })).status, 200);
});

test('a write needs an Origin that is the admin port itself or listed, and reads do not', async (t) => {
  const { call, port } = await startAdmin(t, { settings: { hosts: ['admin.internal'] } });
  const write = async (headers: Record<string, string>) =>
    (await call({ method: 'POST', path: '/api/v1/reload', headers })).status;
  const own = `127.0.0.1:${port}`;
  for (const [origin, host, status] of [
    [`http://${own}`, own, 200],
    [`http://localhost:${port}`, `LOCALHOST:${port}`, 200],
    [`http://[::1]:${port}`, `[::1]:${port}`, 200],
    ['https://admin.internal', '127.0.0.1', 200],
    ['https://127.0.0.1', '127.0.0.1', 200],
    ['https://127.0.0.1', '127.0.0.1:443', 200],
    // Pages of a proxied backend, of another program on this machine, of any address.
    ['http://127.0.0.1:8080', own, 403],
    ['http://localhost:3000', own, 403],
    [`http://localhost:${port}`, own, 403],
    [`http://127.0.0.1`, own, 403],
    ['http://203.0.113.9', own, 403],
  ] as const) {
    assert.equal(await write({ origin, host }), status, `${origin} to ${host}`);
    assert.equal((await call({ path: clients, headers: { origin, host } })).status, 200);
  }
  assert.equal(await write({ 'sec-fetch-site': 'same-origin' }), 200);
  assert.equal(await write({ 'sec-fetch-site': 'none' }), 200);
  assert.equal(await write({ 'sec-fetch-site': 'same-site' }), 403);
  assert.equal(await write({ 'sec-fetch-site': 'cross-site' }), 403);
});

test('a request that the browser marks as that of another site may neither read nor write, unless the site is listed', async (t) => {
  const { call, port } = await startAdmin(t, { settings: { hosts: ['admin.internal'] } });
  const headers = { origin: 'http://203.0.113.9', 'sec-fetch-site': 'cross-site' };
  assertProblem(await call({ method: 'POST', path: '/api/v1/reload', headers }), 403);
  for (const path of [clients, '/api/v1/events', '/%61pi/v1/events', '/api/v1/config/diff', '/nowhere'])
    for (const site of ['cross-site', 'same-site'])
      assertProblem(await call({ path, headers: { 'sec-fetch-site': site } }), 403);
  assertProblem(await call({ path: clients, headers }), 403);
  const listed = { ...headers, origin: 'https://admin.internal' };
  assert.equal((await call({ path: clients, headers: listed })).status, 200);
  for (const path of ['/openapi.json', '/livez', '/metrics'])
    assert.equal((await call({ path, headers: { 'sec-fetch-site': 'cross-site' } })).status, 200, path);
  const own = { origin: `http://127.0.0.1:${port}`, 'sec-fetch-site': 'same-origin' };
  assert.equal((await call({ method: 'POST', path: '/api/v1/reload', headers: own })).status, 200);
});

test('a token of blanks is refused in linear time', () => {
  const authorization = Buffer.from(`Bearer${' '.repeat(15_000)}\u00a0`, 'latin1').toString('latin1');
  const guard = new AccessGuard(
    { token: 'secret', readToken: null, publicMetrics: false, hosts: [], host: '127.0.0.1' },
    silent,
  );
  const request = {
    headers: { authorization, host: '127.0.0.1' },
    headersDistinct: { host: ['127.0.0.1'] },
    socket: { remoteAddress: '127.0.0.1' },
    httpVersion: '1.1',
    method: 'GET',
    url: clients,
  };
  const before = process.threadCpuUsage();
  assert.throws(() => guard.check(request as unknown as IncomingMessage, clients, false), { status: 401 });
  const cpuMs = process.threadCpuUsage(before).user / 1000;
  assert.ok(cpuMs < 20, `${cpuMs} ms`);
});

test('no Host or two get 400, and an absolute target is checked by its authority too', async (t) => {
  const { port } = await startAdmin(t);
  const status = async (text: string) => (await exchangeRaw({ port }, text)).status;
  const end = 'Connection: close\r\n\r\n';
  assert.equal(await status(`GET ${clients} HTTP/1.1\r\n${end}`), 400);
  assert.equal(await status(`GET ${clients} HTTP/1.0\r\n\r\n`), 200);
  assert.equal(
    await status(`GET ${clients} HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n${end}`),
    400,
  );
  assert.equal(await status(`GET http://evil.example${clients} HTTP/1.1\r\nHost: 127.0.0.1\r\n${end}`), 403);
  assert.equal(await status(`GET http://127.0.0.1${clients} HTTP/1.1\r\nHost: 127.0.0.1\r\n${end}`), 200);
  assert.equal(await status(`GET ${clients} HTTP/1.1\r\nHost:\r\n${end}`), 403);
});

test('the name of admin.address is a known Host, but a page at another port of it may not write', () => {
  const check = (method: string, host: string, origin?: string, address = 'front.example') => {
    const guard = new AccessGuard(adminSettings({ host: address }), silent);
    const from = { headers: { host, origin }, headersDistinct: { host: [host] }, httpVersion: '1.1' };
    const request = { ...from, socket: {}, method, url: clients } as unknown as IncomingMessage;
    return guard.check(request, clients, method !== 'GET');
  };
  assert.equal(check('GET', 'Front.example.:9900'), 'write');
  assert.equal(check('POST', 'front.example:9900', 'http://front.example:9900'), 'write');
  assert.throws(() => check('POST', 'front.example:9900', 'http://front.example:8080'), { status: 403 });
  assert.throws(() => check('GET', 'other.example:9900'), { status: 403 });
  for (const address of ['::', '127.0.0.1', 'front.example'])
    assert.throws(() => check('GET', '.', undefined, address), { status: 403 }, address);
});
