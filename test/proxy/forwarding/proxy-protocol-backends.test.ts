/** PROXY headers towards backends. */
import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import type { PoolSettings } from '../../../src/contract/pool-settings.ts';
import { readProxyHeader } from '../../../src/infra/proxy-protocol/proxy-header-reader.ts';
import { listen } from '../../../test_backs/server.ts';
import { Authority } from '../../support/certificates.ts';
import { connectRaw } from '../../support/raw-http.ts';
import { backendTlsSettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { pool, startProxy, startUnixProxy, type TestProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A backend that reads a header on each connection, as text, then what follows. @param secure begins TLS behind the header */
async function startTold(t: TestContext, secure: (socket: Socket) => Socket = (socket) => socket) {
  const seen: { header: Buffer; ends: unknown; text: string }[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    let bytes = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      const result = readProxyHeader(bytes);
      if (result.state !== 'done') return;
      socket.off('data', onData);
      socket.pause();
      const entry = { header: bytes.subarray(0, result.byteCount), ends: result.ends, text: '' };
      seen.push(entry);
      socket.unshift(bytes.subarray(result.byteCount));
      const stream = secure(socket);
      stream.on('error', () => undefined);
      stream.on('data', (data: Buffer) => {
        entry.text += data.toString('latin1');
        if (entry.text.endsWith('\r\n\r\n')) stream.end(OK);
      });
      stream.resume();
    };
    socket.on('data', onData);
  });
  const backend = await listen(server, { port: 0 });
  t.after(() => backend.close());
  return { port: backend.port, seen };
}

async function askTwice(proxy: TestProxy): Promise<Socket> {
  const client = await proxy.connect();
  for (let i = 0; i < 2; i++) {
    client.write(GET);
    assert.equal((await client.readResponse()).body.toString(), 'ok');
  }
  return client.socket;
}

const told = (port: number, more: Partial<PoolSettings>) => ({ pools: [pool('app', [port], more)] });

for (const proxyProtocol of ['v1', 'v2'] as const) {
  test(`${proxyProtocol}: each request has a connection of its own that begins with the ends of the client's connection`, async (t) => {
    const { port, seen } = await startTold(t);
    const proxy = await startProxy(t, told(port, { proxyProtocol }));
    const { localPort } = await askTwice(proxy);
    const ends = {
      remoteAddress: '127.0.0.1',
      remotePort: localPort,
      localAddress: '127.0.0.1',
      localPort: proxy.port,
    };
    assert.deepEqual(
      seen.map((entry) => entry.ends),
      [ends, ends],
    );
    // The backend knows that nothing follows, and closes first.
    for (const { text } of seen)
      assert.match(text, /^GET \/ HTTP\/1\.1\r\nHost: a\r\n[\s\S]*\r\nConnection: close\r\n\r\n$/);
    const connections = [...proxy.plan().backends()][0]?.connections;
    await waitFor('the connections to close', () => connections?.openCount === 0);
  });

  test(`${proxyProtocol}: a client on a Unix socket has no address`, async (t) => {
    const { port, seen } = await startTold(t);
    const { path } = await startUnixProxy(t, told(port, { proxyProtocol }));
    const client = await connectRaw({ path });
    t.after(() => client.close());
    client.write(GET);
    assert.equal((await client.readResponse()).status, 200);
    const header = seen[0]?.header.toString('latin1');
    assert.equal(header, proxyProtocol === 'v1' ? 'PROXY UNKNOWN\r\n' : '\r\n\r\n\0\r\nQUIT\n\x20\0\0\0');
    assert.equal(seen[0]?.ends, null);
  });
}

test('the header comes before TLS', async (t) => {
  const authority = new Authority();
  const certificate = authority.issue(['127.0.0.1']);
  const { port, seen } = await startTold(
    t,
    (socket) => new TLSSocket(socket, { isServer: true, ...certificate }),
  );
  const tls = backendTlsSettings({ ca: authority.root });
  const app = pool('app', [port], { proxyProtocol: 'v2', tls });
  const backends = app.backends.map((backend) => ({ ...backend, tls: true }));
  const proxy = await startProxy(t, { pools: [{ ...app, backends }] });
  const { localPort } = await askTwice(proxy);
  assert.deepEqual(
    seen.map(({ ends }) => (ends as { remotePort: number }).remotePort),
    [localPort, localPort],
  );
});

test('a reload that turns it on leaves no connection without a header', async (t) => {
  const { port, seen } = await startTold(t);
  const off = await startProxy(t, told(port, { proxyProtocol: 'v1' }));
  await askTwice(off);
  off.reload(told(port, { proxyProtocol: 'v2' }));
  await askTwice(off);
  assert.deepEqual(
    seen.map(({ header }) => header[0] === 0x50),
    [true, true, false, false],
  );
});
