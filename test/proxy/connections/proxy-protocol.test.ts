/** PROXY headers of clients' connections. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { proxyHeader } from '../../../src/infra/proxy-protocol/proxy-header.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import { connectRaw, RawClient } from '../../support/raw-http.ts';
import { localTls } from '../../support/tls.ts';
import { waitFor, within } from '../../support/wait.ts';
import { type CapturingBackend, startCapturingBackend } from '../capturing-backend.ts';
import {
  accessLineOf,
  type ProxyOptions,
  pool,
  startProxy,
  startUnixProxy,
  type TestProxy,
} from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const ENDS = { remoteAddress: '203.0.113.9', remotePort: 4711, localAddress: '198.51.100.1', localPort: 443 };
const LOOPBACK = ['127.0.0.1/32'];
const headerOf = (version: 'v1' | 'v2', ends: Parameters<typeof proxyHeader>[1] = ENDS) =>
  Buffer.from(proxyHeader(version, ends), 'latin1');

async function start(
  t: TestContext,
  more: ProxyOptions = {},
): Promise<{ proxy: TestProxy; backend: CapturingBackend }> {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [{ port: backend.port }], proxyProtocol: LOOPBACK, ...more });
  return { proxy, backend };
}

const errors = (proxy: TestProxy, reason: string) =>
  proxy.metric('sluice_proxy_protocol_errors_total', reason);

/** Sends the bytes on a connection of its own, and waits until Sluice has closed it without a word. */
async function refused(proxy: TestProxy, bytes: Buffer | string): Promise<void> {
  const client = await proxy.connect();
  client.write(bytes);
  await waitFor('the connection is closed', () => client.closed || client.ended);
  assert.equal(client.received.length, 0);
  client.close();
}

for (const version of ['v1', 'v2'] as const) {
  test(`${version}: the address in the header is the client's, for backends, logs and the connection's requests`, async (t) => {
    const { proxy, backend } = await start(t);
    const client = await proxy.connect();
    client.write(Buffer.concat([headerOf(version), Buffer.from(GET)]));
    assert.equal((await client.readResponse()).status, 200);
    client.write(GET);
    assert.equal((await client.readResponse()).status, 200);
    assert.deepEqual(
      backend.requests.map((request) => request.header('x-forwarded-for')),
      [ENDS.remoteAddress, ENDS.remoteAddress],
    );
    assert.equal((await accessLineOf(proxy, () => true)).clientIp, ENDS.remoteAddress);
    assert.equal(proxy.server.connectionCount, 1);
  });

  test(`${version}: a header may come byte by byte, and the request's bytes with its last ones`, async (t) => {
    const { proxy, backend } = await start(t);
    const header = headerOf(version);
    const client = await proxy.connect();
    for (const byte of header.subarray(0, -1)) {
      client.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.write(Buffer.concat([header.subarray(-1), Buffer.from(GET.slice(0, 10))]));
    await waitFor('the header is read', () => proxy.server.connectionsByProtocol().pending === 0);
    client.write(GET.slice(10));
    assert.equal((await client.readResponse()).status, 200);
    assert.equal(backend.requests[0]?.raw.startsWith('GET / HTTP/1.1\r\n'), true);
  });

  test(`${version}: a header that names nobody leaves the address of the connection`, async (t) => {
    const { proxy, backend } = await start(t);
    const client = await proxy.connect();
    client.write(Buffer.concat([headerOf(version, null), Buffer.from(GET)]));
    assert.equal((await client.readResponse()).status, 200);
    assert.equal(backend.requests[0]?.header('x-forwarded-for'), '127.0.0.1');
  });

  test(`${version}: the header comes before TLS and HTTP/2`, async (t) => {
    const { tls, ca } = localTls();
    const { proxy, backend } = await start(t, { tls });
    const open = async () => {
      const tcp = connectTcp(proxy.port, '127.0.0.1');
      await once(tcp, 'connect');
      tcp.write(headerOf(version));
      return tcp;
    };
    const http1 = connectTls({ socket: await open(), ca, servername: 'localhost' });
    t.after(() => http1.destroy());
    const client = new RawClient(http1 as Socket);
    client.write(GET);
    assert.equal((await client.readResponse()).status, 200);
    const secure = connectTls({ socket: await open(), ca, servername: 'localhost', ALPNProtocols: ['h2'] });
    const session = connectH2(t, 'https://localhost', { createConnection: () => secure });
    assert.equal((await requestH2(session, { ':path': '/two' })).status, 200);
    assert.deepEqual(
      backend.requests.map((each) => [each.header('x-forwarded-for'), each.header('x-forwarded-proto')]),
      [
        [ENDS.remoteAddress, 'https'],
        [ENDS.remoteAddress, 'https'],
      ],
    );
  });

  test(`${version}: the header comes before HTTP/2 without TLS, and beside it HTTP/1.1`, async (t) => {
    const { proxy, backend } = await start(t, { h2c: true });
    const client = await proxy.connect();
    client.write(Buffer.concat([headerOf(version), Buffer.from(GET)]));
    assert.equal((await client.readResponse()).status, 200);
    const tcp = connectTcp(proxy.port, '127.0.0.1');
    await once(tcp, 'connect');
    tcp.write(headerOf(version));
    const session = connectH2(t, 'http://localhost', { createConnection: () => tcp });
    assert.equal((await requestH2(session, { ':path': '/two' })).status, 200);
    assert.deepEqual(
      backend.requests.map((each) => each.header('x-forwarded-for')),
      [ENDS.remoteAddress, ENDS.remoteAddress],
    );
  });

  test(`${version}: a header cut at any byte is no header: the connection is closed and counted`, async (t) => {
    const { proxy } = await start(t);
    const header = headerOf(version);
    for (let size = 1; size < header.length; size += 1) {
      const client = await proxy.connect();
      client.write(header.subarray(0, size));
      client.end();
      await waitFor('the connection is closed', () => client.closed || client.ended);
      assert.equal(client.received.length, 0);
      client.close();
    }
    await waitFor('the count', () => errors(proxy, 'truncated') === header.length - 1);
  });
}

test('what does not begin with a header is closed without an answer, and counted by its reason', async (t) => {
  const { proxy, backend } = await start(t);
  await refused(proxy, GET);
  await refused(proxy, 'PROXY TCP4 1.2.3.4 nonsense 1 2\r\n');
  await refused(proxy, `PROXY UNKNOWN ${'x'.repeat(100)}`);
  const long = headerOf('v2');
  long.writeUInt16BE(60_000, 14);
  await refused(proxy, long);
  const checked = Buffer.concat([headerOf('v2'), Buffer.from([3, 0, 4, 0, 0, 0, 0])]);
  checked.writeUInt16BE(12 + 7, 14);
  await refused(proxy, checked);
  await waitFor('the counts', () => errors(proxy, 'malformed') === 2);
  assert.deepEqual([errors(proxy, 'too_long'), errors(proxy, 'checksum')], [2, 1]);
  assert.deepEqual([backend.requests.length, proxy.server.connectionCount], [0, 0]);
});

test('a peer that is not in `from` is closed, header or not, and counted', async (t) => {
  const { proxy, backend } = await start(t, { proxyProtocol: ['10.0.0.0/8', '::1'] });
  await refused(proxy, Buffer.concat([headerOf('v1'), Buffer.from(GET)]));
  await refused(proxy, GET);
  await waitFor('the count', () => errors(proxy, 'stranger') === 2);
  assert.equal(proxy.metric('sluice_connections_accepted_total'), 2);
  assert.equal(backend.requests.length, 0);
});

test('a header must come within timeouts.headers; a connection that ends without a byte is a look and not counted', async (t) => {
  const { proxy } = await start(t, { timeouts: { headersMs: 200 } });
  const looking = await proxy.connect();
  looking.end();
  await waitFor('the connection is closed', () => proxy.server.connectionCount === 0);
  assert.equal(proxy.metric('sluice_proxy_protocol_errors_total'), 0);
  await refused(proxy, 'PROXY TCP4 1.2.3');
  await waitFor('the count', () => errors(proxy, 'timeout') === 1);
});

test('the cap per address counts the addresses in the headers, not the balancer', async (t) => {
  const { proxy } = await start(t, { limits: { connectionsPerIp: 2 } });
  const open = async (ends: typeof ENDS) => {
    const client = await proxy.connect();
    client.write(Buffer.concat([headerOf('v2', ends), Buffer.from(GET)]));
    return client;
  };
  for (let i = 0; i < 5; i++) {
    const client = await open({ ...ENDS, remoteAddress: `203.0.113.${i}` });
    assert.equal((await client.readResponse()).status, 200);
  }
  const second = await open({ ...ENDS, remoteAddress: '203.0.113.1' });
  assert.equal((await second.readResponse()).status, 200);
  const third = await open({ ...ENDS, remoteAddress: '203.0.113.1' });
  await waitFor('the third is closed', () => third.closed || third.ended);
  assert.equal(proxy.metric('sluice_shed_total', 'connections_per_ip'), 1);
  second.close();
  await waitFor('the second has gone', () => proxy.server.connectionCount === 5);
  const fourth = await open({ ...ENDS, remoteAddress: '203.0.113.1' });
  assert.equal((await fourth.readResponse()).status, 200);
});

test('the address in the header is the peer for trustedProxies', async (t) => {
  const { proxy, backend } = await start(t, { trustedProxies: ['203.0.113.0/24'] });
  const request = 'GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.77\r\n\r\n';
  for (const ends of [ENDS, { ...ENDS, remoteAddress: '198.51.100.9' }]) {
    const client = await proxy.connect();
    client.write(Buffer.concat([headerOf('v1', ends), Buffer.from(request)]));
    assert.equal((await client.readResponse()).status, 200);
  }
  const seen = backend.requests.map((each) => each.header('x-real-ip'));
  assert.deepEqual(seen, ['192.0.2.77', '198.51.100.9']);
});

test('peers on a Unix socket send headers where `from` has unix:, else they are strangers', async (t) => {
  const backend = await startCapturingBackend(t);
  for (const from of [['unix:'], ['10.0.0.0/8']]) {
    const { path, proxy } = await startUnixProxy(t, { backends: [backend], proxyProtocol: from });
    const client = await connectRaw({ path });
    t.after(() => client.close());
    client.write(Buffer.concat([headerOf('v2'), Buffer.from(GET)]));
    if (from[0] === 'unix:') {
      assert.equal((await client.readResponse()).status, 200);
      assert.equal(backend.requests[0]?.header('x-forwarded-for'), ENDS.remoteAddress);
    } else await waitFor('the stranger is counted', () => errors(proxy, 'stranger') === 1);
  }
});

test('a backend that is told of the client hears what the header says', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const pools = [pool('app', [backend.port], { proxyProtocol: 'v1' })];
  const proxy = await startProxy(t, { pools, proxyProtocol: LOOPBACK });
  const client = await proxy.connect();
  client.write(Buffer.concat([headerOf('v2'), Buffer.from(GET)]));
  const expected = proxyHeader('v1', ENDS);
  await waitFor('the header', () => backend.received[0]?.startsWith(expected));
});

test('a drain closes connections whose header has not come', async (t) => {
  const { proxy } = await start(t, { timeouts: { headersMs: 10_000 } });
  const client = await proxy.connect();
  await waitFor('the connection', () => proxy.server.connectionCount === 1);
  await within(proxy.server.drain({ graceMs: 0, drainMs: 5_000 }), 4_000, 'the drain');
  await waitFor('the connection is closed', () => client.closed || client.ended);
});
