/** Sessions of clients on TLS: bytes, pauses and ends pass the wire as without it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startBackend } from '../../support/backend.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import { bodyOf } from '../../support/pattern.ts';
import { localTls } from '../../support/tls.ts';
import { untilStill } from '../../support/wait.ts';
import { startProxy, type TestProxy } from '../support.ts';

/** Echoes every body. */
async function startEcho(t: TestContext): Promise<TestProxy> {
  const backend = await startBackend((incoming, response) => incoming.pipe(response));
  t.after(() => backend.close());
  return startProxy(t, { backends: [backend], tls: localTls().tls, limits: { bodyBytes: 64 << 20 } });
}

const connect = (t: TestContext, { url }: TestProxy) =>
  connectH2(t, url.replace('http:', 'https:'), { rejectUnauthorized: false });

test('large bodies pass both ways in many streams at once', async (t) => {
  const session = connect(t, await startEcho(t));
  await Promise.all(
    [1, 2, 3, 4].map(async (seed) => {
      const sent = bodyOf(seed, 2_000_000 + seed);
      const { status, body } = await requestH2(session, { ':path': '/', ':method': 'POST' }, sent);
      assert.equal(status, 200);
      assert.ok(Buffer.from(body, 'latin1').equals(sent), `bytes of stream ${seed}`);
    }),
  );
});

test('a connection that is not read for a while gets every byte later', async (t) => {
  const sent = bodyOf(5, 30_000_000);
  const backend = await startBackend((_incoming, response) => response.end(sent));
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], tls: localTls().tls });
  const relayed: { client: Socket; server: Socket }[] = [];
  const relay = createServer({ noDelay: true }, (client) => {
    const server = connectTcp({ port: proxy.port, host: '127.0.0.1', noDelay: true });
    client.pipe(server).pipe(client);
    relayed.push({ client, server });
  });
  t.after(() => {
    for (const { client, server } of relayed) for (const socket of [client, server]) socket.destroy();
    relay.close();
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const { port } = relay.address() as AddressInfo;
  // Only the connection stops it.
  const settings = { initialWindowSize: 2 ** 30 };
  const session = connectH2(t, `https://127.0.0.1:${port}`, { rejectUnauthorized: false, settings });
  await once(session, 'connect');
  session.setLocalWindowSize(2 ** 30);
  const stream = session.request({ ':path': '/' });
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  await once(stream, 'response');
  const { client, server } = relayed[0] ?? assert.fail('no connection');
  server.unpipe(client);
  await untilStill('the bytes that pass', () => server.bytesRead);
  assert.ok(server.bytesRead < sent.length);
  server.pipe(client);
  await once(stream, 'end');
  assert.ok(Buffer.concat(pieces).equals(sent));
});

test('a drain says GOAWAY and closes by an end of TLS', async (t) => {
  const proxy = await startEcho(t);
  const session = connect(t, proxy);
  assert.equal((await requestH2(session, { ':path': '/', ':method': 'POST' }, 'x')).status, 200);
  const errors: Error[] = [];
  session.on('error', (error) => errors.push(error));
  const goaways: number[][] = [];
  session.on('goaway', (code, lastStreamId) => goaways.push([code, lastStreamId]));
  await Promise.all([once(session, 'close'), proxy.server.drain({ graceMs: 0, drainMs: 5_000 })]);
  assert.deepEqual([goaways[0], errors], [[0, 2 ** 31 - 1], []]);
});
