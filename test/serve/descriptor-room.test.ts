/** What a worker counts and closes where its descriptors run out. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ask, poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { connectRaw, type RawClient } from '../support/raw-http.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

const OPEN_FILES = 150;
/** A client that has been idle for longer may be closed. */
const LONG_IDLE_MS = 5_000;
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const SLOW = 'GET /slow?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n';

/** closedBefore returns the clients that are closed before the stop. */
function closedBefore(t: TestContext, stop: () => Promise<unknown>): RawClient[] {
  const clients: RawClient[] = [];
  t.after(() => {
    for (const client of clients) client.close();
    return stop();
  });
  return clients;
}

test('B20: clients that have been idle for long make room for all that wait to be accepted, not for some of them', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const config = { workers: 1, limits: { connections: 1_000 }, pools: poolOf([backend]) };
  const sluice = await startSluice({ config, openFiles: OPEN_FILES });
  const clients = closedBefore(t, () => sluice.stop());
  for (let i = 0; i < 40; i++) {
    const client = await connectRaw(sluice.proxyUrl);
    clients.push(client);
    client.write(GET);
    assert.equal((await client.readResponse()).status, 200);
  }
  const idleSinceMs = performance.now();
  await waitFor('clients that have been idle for long', () => performance.now() - idleSinceMs > LONG_IDLE_MS);
  for (let i = 0; i < 40; i++) {
    const client = await connectRaw(sluice.proxyUrl);
    clients.push(client);
    client.write(SLOW);
  }
  const inFlightOf = async () => (await workersOf(sluice.adminUrl))[0]?.inFlight;
  await waitFor('all requests to be accepted', async () => (await inFlightOf()) === 40);
  assert.ok(sluice.jsonLines(({ msg }) => String(msg).startsWith('descriptors run out')).length > 0);
  assert.equal((await ask(sluice.proxyUrl)).text, 'a');
});

test('B20: connections that a reload has replaced, and that still have requests, are counted', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const configOf = (connect: string) => ({
    workers: 1,
    pools: poolOf([backend], { timeouts: { connect } }),
  });
  const sluice = await startSluice({ config: configOf('1s'), openFiles: OPEN_FILES });
  const clients = closedBefore(t, () => sluice.stop());
  for (let i = 0; i < 30; i++) {
    const client = await connectRaw(sluice.proxyUrl);
    clients.push(client);
    client.write(SLOW);
  }
  await waitFor('slow requests', async () => (await workersOf(sluice.adminUrl))[0]?.inFlight === 30);
  sluice.configure(configOf('2s'));
  sluice.signal('SIGHUP');
  await waitFor('the reload', () => sluice.jsonLines(({ msg }) => msg === 'reloaded').length > 0);
  const asked = Array.from({ length: 2 * OPEN_FILES }, () => ask(`${sluice.proxyUrl}/slow?ms=50`));
  const answers = (await Promise.allSettled(asked)).map((each) =>
    each.status === 'fulfilled' ? each.value.text : String(each.reason),
  );
  assert.deepEqual(new Set(answers), new Set(['a']));
});
