/** Connections of the admin port at its cap. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { makeServer } from '../../../src/primary/admin/listening.ts';
import { connectRaw, type RawClient } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';

const CAP = 16;
/** More than the buffers of a socket hold. */
const LARGE = Buffer.alloc(8 << 20);

async function startServer(t: TestContext) {
  let begun = 0;
  const server = makeServer(
    {},
    ({ url }, response) => {
      begun++;
      if (url !== '/never') response.end(url === '/large' ? LARGE : 'ok');
    },
    CAP,
  );
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return async (path: string) => {
    const client = await connectRaw({ port });
    t.after(() => client.close());
    const before = begun;
    if (path === '/large') client.socket.pause();
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    if (path !== '/') await waitFor('the request', () => begun > before);
    return client;
  };
}

test('where all connections leave their answers unread, the one that has done so longest makes room', async (t) => {
  const connect = await startServer(t);
  const waiting = await connect('/never');
  const deaf: RawClient[] = [];
  for (let i = 1; i < CAP; i++) deaf.push(await connect('/large'));
  for (let i = 0; i < 4; i++) assert.equal((await (await connect('/')).readResponse()).status, 200);
  const [first, last] = [deaf[0]!, deaf.at(-1)!];
  for (const client of [first, last]) client.socket.resume();
  await first.waitForClose();
  assert.ok(first.received.length < LARGE.length);
  await waitFor('the last answer', () => last.received.length > LARGE.length);
  assert.equal(waiting.ended || waiting.closed, false, 'its answer is still being made');
});

test('where enough connections are idle, the one that is so longest makes room', async (t) => {
  const connect = await startServer(t);
  const deaf = await connect('/large');
  const polite = [];
  for (let i = 1; i < CAP; i++) {
    polite.push(await connect('/'));
    assert.equal((await polite.at(-1)!.readResponse()).status, 200);
  }
  assert.equal((await (await connect('/')).readResponse()).status, 200);
  await polite[0]!.waitForClose();
  assert.equal(polite[1]!.ended || polite[1]!.closed, false);
  deaf.socket.resume();
  await waitFor('the whole answer', () => deaf.received.length > LARGE.length);
});
