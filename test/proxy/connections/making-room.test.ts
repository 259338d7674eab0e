import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { FakeTime } from '../../support/fake-time.ts';
import type { RawClient } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const CAP = 3;
const LONG_MS = 5_000;
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

async function start(t: TestContext) {
  const time = new FakeTime();
  const backend = await startCapturingBackend(t);
  const limits = { connections: CAP };
  const timeouts = { headersMs: 60_000, bodyIdleMs: 60_000 };
  const proxy = await startProxy(t, { backends: [backend], limits, timeouts, clock: time.clock });
  const connect = async (): Promise<RawClient> => {
    const before = proxy.metric('sluice_connections_accepted_total');
    const client = await proxy.connect();
    await waitFor('the accept', () => proxy.metric('sluice_connections_accepted_total') > before);
    return client;
  };
  return { time, proxy, backend, connect };
}

async function assertServed(client: RawClient): Promise<void> {
  client.write(GET);
  assert.equal((await client.readResponse()).status, 200);
}

test('B20: at the cap the connection that has been idle for longest makes room, and is counted', async (t) => {
  const { time, proxy, connect } = await start(t);
  const silent = await connect();
  time.nowMs += 1_000;
  const others = [await connect(), await connect()];
  for (const client of others) await assertServed(client);
  time.nowMs += LONG_MS;
  await assertServed(await connect());
  assert.equal((await silent.waitForClose()).length, 0);
  assert.equal(proxy.metric('sluice_shed_total', 'connections'), 1);
  for (const client of others) await assertServed(client);
  assert.equal(proxy.server.connectionCount, CAP);
});

test('B20: an incomplete head makes room where every other connection is needed, a request in flight never does', async (t) => {
  const { time, proxy, backend, connect } = await start(t);
  const half = await connect();
  half.write('GET / HTTP/1.1\r\nHo');
  const busy = await connect();
  busy.write('GET /held HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n');
  await waitFor('the request at the backend', () => backend.received.length === 1);
  await waitFor('the bytes of the head', () => proxy.handler.traffic.inFlight === 1);
  time.nowMs += LONG_MS;
  const silent = await connect();
  time.nowMs += LONG_MS;
  const first = await connect();
  await silent.waitForClose();
  await assertServed(first);
  await assertServed(await connect());
  await half.waitForClose();
  // The two that were served have not been idle for long.
  const refused = await connect();
  await refused.waitForClose();
  assert.equal(proxy.metric('sluice_shed_total', 'connections'), 3);
  busy.write('body');
  assert.equal((await busy.readResponse()).status, 200);
});
