/** Many clients that send bytes which cannot be used yet: what their worker keeps for them is bounded, and honest uploads still pass. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { PENDING_MAX_BYTES } from '../../../src/memory/pending-bytes.ts';
import { engineOf, startProxy, type TestProxy } from '../../proxy/support.ts';
import { startBackend } from '../../support/backend.ts';
import type { RawClient } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';

/** Of this size the whole of an upload waits, in one read, until its backend is connected. */
const UPLOAD_BYTES = 60_000;
const UPLOADS = 4;
const BATCH = 40;

async function startUploadProxy(t: TestContext): Promise<TestProxy> {
  const backend = await startBackend((request, response) => {
    let bytes = 0;
    request.on('data', (piece: Buffer) => {
      bytes += piece.length;
    });
    // Each upload waits for a new connection.
    response.setHeader('Connection', 'close');
    request.on('end', () => response.end(String(bytes)));
  });
  t.after(() => backend.close());
  return startProxy(t, { backends: [backend], engine: engineOf('wire'), limits: { headerBytes: 1 << 20 } });
}

/** Opens many connections, each of which sends `pieces`, one read after the other. */
async function flood(proxy: TestProxy, count: number, pieces: readonly Buffer[]): Promise<RawClient[]> {
  const all: RawClient[] = [];
  while (all.length < count) {
    const batch = await Promise.all(Array.from({ length: BATCH }, () => proxy.connect()));
    for (const piece of pieces) {
      for (const client of batch) client.write(piece);
      await waitFor('a batch to be sent', () => batch.every(({ socket }) => socket.writableLength === 0));
      await upload(proxy, 1);
    }
    all.push(...batch);
  }
  return all;
}

/** The proxy reads what was sent before while it answers. */
async function upload(proxy: TestProxy, bytes: number): Promise<void> {
  const client = await proxy.connect();
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`);
  const { status, body } = await client.readResponse();
  assert.deepEqual([status, body.toString()], [200, String(bytes)]);
  client.close();
}

const isCut = (client: RawClient): boolean => client.closed || client.ended;

test('clients that have used up all but one byte of 64 KiB take little memory, so nobody is cut', async (t) => {
  const proxy = await startUploadProxy(t);
  const rest = Buffer.from(`\n${'\r\n'.repeat(32_767)}G`);
  const count = 2 * BATCH + PENDING_MAX_BYTES / (2 * 65_536);
  const clients = await flood(proxy, count, [Buffer.from('\r'), rest]);
  for (let i = 0; i < UPLOADS; i++) await upload(proxy, UPLOAD_BYTES);
  assert.deepEqual([clients.filter(isCut).length, proxy.metric('sluice_shed_total', 'overload')], [0, 0]);
});

test('above 64 MiB of half heads the clients that waited longest are cut, and uploads pass', async (t) => {
  const proxy = await startUploadProxy(t);
  const half = Buffer.from(`GET / HTTP/1.1\r\nX: ${'v'.repeat(60_000)}`);
  const most = PENDING_MAX_BYTES / 65_536;
  const clients = await flood(proxy, most + 2 * BATCH, [half]);
  for (let i = 0; i < UPLOADS; i++) await upload(proxy, UPLOAD_BYTES);
  await waitFor('the surplus to be cut', () => clients.filter(isCut).length >= clients.length - most);
  const lastCut = clients.findLastIndex(isCut);
  assert.ok(lastCut < 6 * BATCH, `client ${lastCut} of ${clients.length} was cut`);
  const cutCount = clients.filter(isCut).length;
  assert.ok(cutCount <= clients.length - most + UPLOADS, `${cutCount} were cut`);
  assert.equal(proxy.metric('sluice_shed_total', 'overload'), cutCount);
});
