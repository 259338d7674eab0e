/** Floods of bytes behind a request that is refused, last or slow: they take little memory. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { waitFor } from '../../support/wait.ts';
import { usedBytes } from '../bodies/memory.ts';
import { dataPath, startProxy } from '../support.ts';

const TINY = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const REFUSED = 'GET / HTTP/1.1\r\n\r\n';
/** A proxy that parsed all these requests would hold 80 MB. */
const FLOOD = Buffer.from(TINY.repeat(40_000));
/** More than node's parser allocates for one read of 64 KiB, plus noise. */
const FLOOD_MEMORY_BYTES = 8 * 1_048_576;

/** A backend that begins an answer at once and ends it on finish(). */
async function startSlowBackend(t: TestContext): Promise<{ port: number; finish: () => void }> {
  let finish = (): void => undefined;
  const backend = await startRawBackend((socket) => {
    socket.once('data', () =>
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'),
    );
    finish = () => socket.end('1\r\nz\r\n0\r\n\r\n');
  });
  t.after(() => backend.close());
  return { port: backend.port, finish: () => finish() };
}

function assertSmall(grownBytes: number): void {
  assert.ok(grownBytes <= FLOOD_MEMORY_BYTES, `${grownBytes} bytes of memory`);
}

test('bytes behind a request that was refused with Connection: close are not parsed', async (t) => {
  const proxy = await startProxy(t, {});
  const client = await proxy.connect();
  client.write(REFUSED + TINY);
  const answer = await client.readResponse();
  assert.equal(answer.status, 400);
  assert.equal(answer.header('connection'), 'close');
  const before = usedBytes();
  client.write(FLOOD);
  await waitFor('the flood to be read', () => client.socket.writableLength === 0);
  assertSmall(usedBytes() - before);
  client.end();
  await waitFor('the connection to be closed', () => proxy.server.connectionCount === 0);
  assert.equal(client.received.length, 0);
  assert.equal(proxy.lines.length, 1);
});

test('bytes behind a refused request in its packet are freed with the connection', async (t) => {
  const proxy = await startProxy(t, {});
  const modest = await proxy.connect();
  modest.write(REFUSED + TINY.repeat(10));
  assert.equal((await modest.readResponse()).status, 400);
  const before = usedBytes();
  const greedy = await Promise.all(Array.from({ length: 12 }, () => proxy.connect()));
  for (const client of greedy) client.write(REFUSED + TINY.repeat(2_000));
  if (dataPath.engine === 'node') {
    // node parses everything in a read and keeps the requests as long as the connection, so clients with very many are cut.
    const wasCut = () => proxy.metric('sluice_shed_total', 'overload') > 0;
    await waitFor('a greedy client to be cut', wasCut);
  } else {
    for (const client of greedy) assert.equal((await client.readResponse()).status, 400);
    assert.equal(proxy.metric('sluice_shed_total', 'overload'), 0);
    assertSmall(usedBytes() - before);
  }
  for (const client of [modest, ...greedy]) client.close();
  await waitFor('all connections to be closed', () => proxy.server.connectionCount === 0);
  assertSmall(usedBytes() - before);
});

test('bytes behind a request whose answer ends the connection are not parsed', async (t) => {
  const backend = await startSlowBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1');
  // The answer begins before the body is complete.
  await client.waitForBytes('\r\na\r\n');
  const before = usedBytes();
  client.write(`2${TINY}`);
  client.write(FLOOD);
  await waitFor('the flood to be sent', () => client.socket.writableLength === 0);
  assertSmall(usedBytes() - before);
  backend.finish();
  const answer = await client.readResponse();
  assert.equal(answer.body.toString(), 'az');
  assert.equal(answer.header('connection'), 'close');
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(client.error, null, 'the connection was reset');
  assertSmall(usedBytes() - before);
  assert.deepEqual(
    proxy.lines.map(({ status }) => status),
    [200],
  );
});

test('bytes behind a head that timed out are not parsed', async (t) => {
  const backend = await startSlowBackend(t);
  const proxy = await startProxy(t, { backends: [backend], timeouts: { headersMs: 100 } });
  const client = await proxy.connect();
  client.write(`${TINY}GET / HT`);
  await client.waitForBytes('\r\na\r\n');
  backend.finish();
  assert.equal((await client.readResponse()).body.toString(), 'az');
  assert.equal((await client.readResponse()).status, 408);
  const before = usedBytes();
  client.write('TP/1.1\r\nHost: a\r\n\r\n');
  client.write(FLOOD);
  await waitFor('the flood to be read', () => client.socket.writableLength === 0);
  assertSmall(usedBytes() - before);
  assert.equal((await client.waitForClose()).length, 0);
  assert.deepEqual(
    proxy.lines.map(({ status }) => status),
    [200, 408],
  );
});

const CHUNKS = 65_536;
// node's engine takes 10 µs for each chunk.
const CLIENTS = dataPath.engine === 'wire' ? 20 : 4;

/** node makes a Buffer of each chunk in a read of 64 KiB and then stops reading. */
const NODE_CLIENT_BYTES = 3 * 1_048_576;

const bound = dataPath.engine === 'wire' ? 'four times what was sent' : '3 MiB each';
test(`bodies in ${CHUNKS} chunks behind slow requests cost at most ${bound}`, async (t) => {
  const held: (() => void)[] = [];
  const backend = await startBackend((request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      const answer = () => response.end(String(bytes));
      if (request.method === 'GET') held.push(answer);
      else answer();
    });
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend] });
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => proxy.connect()));
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
  const packet = Buffer.from(`${TINY}${head}${'1\r\nx\r\n'.repeat(CHUNKS)}0\r\n\r\n`);
  const before = usedBytes();
  for (const client of clients) client.write(packet);
  await waitFor('the slow requests', () => held.length === CLIENTS);
  await waitFor('all to be sent', () => clients.every(({ socket }) => socket.writableLength === 0));
  const grown = usedBytes() - before;
  const sent = CLIENTS * packet.length;
  const most = dataPath.engine === 'wire' ? 4 * sent : CLIENTS * NODE_CLIENT_BYTES;
  assert.ok(grown <= most + FLOOD_MEMORY_BYTES, `${grown} bytes of memory for ${sent} that were sent`);
  for (const answer of held) answer();
  for (const client of clients) {
    assert.equal((await client.readResponse()).body.toString(), '0');
    assert.equal((await client.readResponse()).body.toString(), String(CHUNKS));
  }
});
