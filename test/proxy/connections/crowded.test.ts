import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { RawClient } from '../../support/raw-http.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { route, startProxy, type TestProxy } from '../support.ts';

const CLIENTS = 140;
const MEAN = 110;
const FORWARDED = 'GET /app HTTP/1.1\r\nHost: a\r\n\r\n';
/** Matches no route: the proxy answers inside the parser's callback. */
const REFUSED = 'GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n';

async function startWithClients(t: TestContext): Promise<{ proxy: TestProxy; clients: RawClient[] }> {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], routes: [route('app', { path: '/app' })] });
  const clients = [];
  for (let i = 0; i < CLIENTS; i++) clients.push(await proxy.connect());
  for (const client of clients) {
    client.write(FORWARDED);
    assert.equal((await client.readResponse()).status, 200);
  }
  return { proxy, clients };
}

/** Sends the requests in one packet and returns for each answer whether it has `Connection: close`. */
async function closingsOf(client: RawClient, request: string, count: number): Promise<boolean[]> {
  client.write(request.repeat(count));
  const closings: boolean[] = [];
  for (let i = 0; i < count; i++) {
    const answer = await client.readResponse();
    closings.push(answer.header('connection') === 'close');
  }
  return closings;
}

test('a worker far above the mean closes exactly its surplus of connections, each after an answer', async (t) => {
  const { proxy, clients } = await startWithClients(t);
  proxy.server.shareConnections(MEAN);
  let goneCount = 0;
  for (const client of clients) {
    const [closing] = await closingsOf(client, FORWARDED, 1);
    if (closing !== true) continue;
    goneCount++;
    await client.waitForClose();
  }
  assert.equal(goneCount, CLIENTS - MEAN);
});

test('a crowded worker answers all requests of a packet before it closes', async (t) => {
  const { proxy, clients } = await startWithClients(t);
  proxy.server.shareConnections(MEAN);
  for (const client of clients.slice(0, 5)) {
    assert.deepEqual((await closingsOf(client, REFUSED, 5)).slice(0, 4), [false, false, false, false]);
  }
  for (const client of clients.slice(5, 10)) {
    assert.deepEqual((await closingsOf(client, FORWARDED, 5)).slice(0, 4), [false, false, false, false]);
  }
});

test('a worker near the mean, or with a low mean, closes no connection', async (t) => {
  const { proxy, clients } = await startWithClients(t);
  for (const mean of [20, 99, 125, 140, 280]) {
    proxy.server.shareConnections(mean);
    for (const client of clients) assert.deepEqual(await closingsOf(client, FORWARDED, 2), [false, false]);
  }
});
