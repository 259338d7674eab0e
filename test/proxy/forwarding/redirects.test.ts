import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RedirectSettings } from '../../../src/contract/settings.ts';
import { HttpsLocation } from '../../../src/proxy/https-location.ts';
import { plain } from '../../support/settings.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { policy, pool, route, startProxy } from '../support.ts';

function redirect(
  status: RedirectSettings['status'],
  rateLimit: { policies: string[]; cost: number } | null = null,
) {
  return route('secure', {}, { pool: null, redirect: { scheme: 'https', status }, rateLimit });
}

test('a redirect answers every method with its status, and keeps host and target byte for byte', async (t) => {
  const proxy = await startProxy(t, { pools: [], routes: [redirect(308)] });
  const client = await proxy.connect();
  const cases: [request: string, location: string][] = [
    [
      'GET /a%2Fb/?q="<x>&r=//evil HTTP/1.1\r\nHost: Shop.Example:8080',
      'https://Shop.Example/a%2Fb/?q="<x>&r=//evil',
    ],
    ['POST //evil.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3', 'https://a//evil.example/'],
    ['DELETE / HTTP/1.1\r\nHost: [::1]:80', 'https://[::1]/'],
    ['OPTIONS * HTTP/1.1\r\nHost: a', 'https://a'],
    ['GET http://a.example/x HTTP/1.1\r\nHost: a.example', 'https://a.example/x'],
    ['GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive', 'https://a/old'],
  ];
  for (const [head, location] of cases) {
    client.write(`${head}\r\n\r\n${head.startsWith('POST') ? 'abc' : ''}`);
    const answer = await client.readResponse();
    assert.deepEqual([answer.status, answer.reason], [308, 'Permanent Redirect'], head);
    assert.deepEqual([answer.all('location'), answer.all('content-length')], [[location], ['0']], head);
    assert.match(answer.header('x-request-id') ?? '', /^[\w.-]+$/);
  }
  const head = await proxy.connect();
  head.write('HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await head.readResponse({ method: 'HEAD' })).header('location'), 'https://a/x');
  assert.deepEqual(
    new Set(
      proxy.lines.map(
        (line) => `${line.status} ${line.reason} ${line.route} ${line.attempts} ${line.bytesOut}`,
      ),
    ),
    new Set(['308 ok secure 0 0']),
  );
  assert.equal(proxy.metric('sluice_requests_total', 'secure', '308'), cases.length + 1);
});

test('a Host that is no host never gets into Location', async (t) => {
  const proxy = await startProxy(t, { pools: [], routes: [redirect(301)] });
  const hosts = ['Host: user@evil.example', 'Host: a/b', 'Host: a b', 'Host: a\r\nHost: b', 'X: no host'];
  for (const line of [...hosts, 'Host: a\x0bb']) {
    const client = await proxy.connect();
    client.write(`GET / HTTP/1.1\r\n${line}\r\n\r\n`);
    const answer = await client.readResponse();
    assert.deepEqual([answer.status, answer.header('location')], [400, null], line);
  }
  const old = await proxy.connect();
  old.write('GET / HTTP/1.0\r\n\r\n');
  assert.equal((await old.readResponse()).status, 400);
});

test('requests that came over TLS go on to the next route; only a trusted proxy can say so', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('served'));
  const options = { pools: [pool('app', [backend.port])], routes: [redirect(302), route('app')] };
  const answers = async (trustedProxies: string[]): Promise<number[]> => {
    const client = await (await startProxy(t, { ...options, trustedProxies })).connect();
    const statuses = [];
    for (const proto of ['https', 'HTTPS', 'wss', 'https, http', 'http', 'http, https', 'httpsx', '']) {
      client.write(`GET / HTTP/1.1\r\nHost: a\r\n${proto && `X-Forwarded-Proto: ${proto}\r\n`}\r\n`);
      statuses.push((await client.readResponse()).status);
    }
    return statuses;
  };
  assert.deepEqual(await answers(['127.0.0.0/8']), [200, 200, 200, 200, 302, 302, 302, 302]);
  assert.deepEqual(await answers([]), Array(8).fill(302));
});

test('a redirect is limited as its route says, with the fields of the limit', async (t) => {
  const proxy = await startProxy(t, {
    pools: [],
    policies: [policy('default', 1, 0.001)],
    routes: [redirect(307, { policies: ['default'], cost: 1 })],
  });
  const client = await proxy.connect();
  client.write('GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n');
  const [first, second] = [await client.readResponse(), await client.readResponse()];
  assert.deepEqual([first.status, first.header('location')], [307, 'https://a/a']);
  assert.match(first.header('ratelimit') ?? '', /"default";r=0/);
  assert.deepEqual([second.status, second.header('location')], [429, null]);
});

test('Location has the port of the first address with tls, where the client used a port of ours', () => {
  const tls = {
    certificates: [],
    acme: ['a'],
    unknownNames: 'default',
    minVersion: 'TLSv1.2',
    clientAuth: 'off',
    clientCa: null,
  } as const;
  const at = (port: number, secure: boolean) => ({
    ...plain({ kind: 'tcp', host: null, port } as const),
    tls: secure ? { ...tls, certificates: [], acme: [] } : null,
  });
  const location = (host: string, ...listen: ReturnType<typeof at>[]) =>
    new HttpsLocation(listen).of(host, '/');
  const other = [at(8080, false), at(8443, true), at(9443, true)];
  assert.equal(location('a:8080', ...other), 'https://a:8443/');
  // The ports of a container: 80 and 443 outside.
  assert.equal(location('a', ...other), 'https://a/');
  assert.equal(location('a', at(80, false), at(8443, true)), 'https://a:8443/');
  assert.equal(location('a', at(80, false), at(443, true)), 'https://a/');
  assert.equal(location('a:80', at(80, false), at(8443, true), at(443, true)), 'https://a/');
  assert.equal(location('[::1]:80', at(80, false), at(8443, true)), 'https://[::1]:8443/');
  assert.equal(location('a', at(80, false)), 'https://a/');
  assert.equal(location('a:0', at(0, false), at(0, true)), 'https://a/');
});
