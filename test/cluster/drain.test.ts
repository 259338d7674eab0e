import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canListen } from '../support/free-port.ts';
import { startLoad } from '../support/load.ts';
import { connectRaw } from '../support/raw-http.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor, within } from '../support/wait.ts';
import { ask, askJson, poolOf, startNamed } from './support.ts';

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`B38: ${signal} under load fails readiness at once, serves through the grace, drains and exits 0`, async (t) => {
    const backend = await startNamed('a');
    t.after(() => backend.close());
    const sluice = await startSluice({
      config: { workers: 2, pools: poolOf([backend]), timeouts: { drainGrace: '1s', drain: '5s' } },
    });
    t.after(() => sluice.stop());
    const load = startLoad({ url: sluice.proxyUrl, connections: 16 });
    t.after(() => load.stop());
    await load.atLeast(500);
    const idle = await connectRaw(sluice.proxyUrl);
    t.after(() => idle.close());
    idle.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await idle.readResponse();
    const slow = ask(`${sluice.proxyUrl}/slow?ms=2500`);
    await waitFor(
      'the slow request at the backend',
      () => backend.sockets.size > 0 && backend.requestCount > 500,
    );

    const signalledAtMs = performance.now();
    sluice.signal(signal);
    await waitFor(
      'readiness to fail',
      async () => (await askJson(`${sluice.adminUrl}/readyz`)).status === 503,
    );
    assert.equal((await askJson(`${sluice.adminUrl}/readyz`)).body.status, 'draining');
    // A new connection within the grace is served like any other.
    assert.equal((await ask(sluice.proxyUrl)).status, 200);
    await waitFor('the idle connection to be closed', () => idle.ended || idle.closed);
    assert.ok(performance.now() - signalledAtMs > 900, 'idle connections live through the grace');
    const result = await load.stop();
    assert.deepEqual(Object.keys(result.statuses), ['200']);
    // A new connection may arrive when the listener closes (refused, or reset in the accept queue). An accepted one never
    // fails.
    const lost = Object.keys(result.failures).filter((code) => !/^(ECONNREFUSED|ECONNRESET)$/.test(code));
    assert.deepEqual(lost, []);
    assert.equal((await slow).status, 200);
    assert.deepEqual(await within(sluice.child.exited, 10_000, 'the exit'), { code: 0, signal: null });
    assert.deepEqual(sluice.child.groupPids(), []);
    assert.ok(await canListen(Number(new URL(sluice.proxyUrl).port)));
    assert.ok(await canListen(Number(new URL(sluice.adminUrl).port)));
  });
}

test('B38: a stop needs no pause before it: through the grace no request on a new connection fails, while readiness fails', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const timeouts = { drainGrace: '12s', drain: '5s' };
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([backend]), timeouts } });
  t.after(() => sluice.stop());
  const options = { url: sluice.proxyUrl, connections: 8, pauseMs: 5 };
  const load = startLoad({ ...options, headers: { connection: 'close' } });
  t.after(() => load.stop());
  await load.atLeast(100);
  const signalledAtMs = performance.now();
  sluice.signal('SIGTERM');
  await waitFor('readiness to fail', async () => (await askJson(`${sluice.adminUrl}/readyz`)).status === 503);
  // A balancer sends on for some seconds: until it has seen that, or heard of it.
  await load.atLeast(300);
  const { statuses, failures } = await load.stop();
  const tookMs = performance.now() - signalledAtMs;
  assert.ok(tookMs < 12_000, `within the grace: ${tookMs} ms`);
  assert.deepEqual([Object.keys(statuses), failures], [['200'], {}]);
  assert.deepEqual(await within(sluice.child.exited, 20_000, 'the exit'), { code: 0, signal: null });
});
