import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ask, askJson, poolOf, startNamed } from '../cluster/support.ts';
import { canListen } from '../support/free-port.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

async function start(t: TestContext, timeouts: { drainGrace: string; drain: string }, workers = 1) {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { workers, pools: poolOf([backend]), timeouts } });
  t.after(() => sluice.stop());
  return { backend, sluice };
}

test('B38: requests still under way after `drain` are cut, and the exit code is 0', async (t) => {
  const { backend, sluice } = await start(t, { drainGrace: '0s', drain: '500ms' });
  const cut = ask(`${sluice.proxyUrl}/slow?ms=60000`).then(
    () => 'answered',
    (error: NodeJS.ErrnoException) => error.code,
  );
  await waitFor('the request at the backend', () => backend.requestCount === 1);
  const startedMs = performance.now();
  assert.deepEqual(await sluice.stop('SIGTERM'), { code: 0, signal: null });
  assert.ok(performance.now() - startedMs < 5_000);
  assert.equal(await cut, 'ECONNRESET');
});

test('Ctrl-C that arrives twice, from the terminal and from npm, drains', async (t) => {
  const { backend, sluice } = await start(t, { drainGrace: '0s', drain: '20s' });
  const slow = ask(`${sluice.proxyUrl}/slow?ms=1500`);
  await waitFor('the request at the backend', () => backend.requestCount === 1);
  // Two signals, because the kernel may merge two of one kind.
  sluice.signal('SIGINT');
  assert.deepEqual(await sluice.stop('SIGTERM'), { code: 0, signal: null });
  assert.equal((await slow).status, 200);
});

test('a second signal writes the access lines of the requests that it cuts', async (t) => {
  const { backend, sluice } = await start(t, { drainGrace: '0s', drain: '20s' });
  const cut = ask(`${sluice.proxyUrl}/slow?ms=60000`).catch(() => null);
  await waitFor('the request at the backend', () => backend.requestCount === 1);
  sluice.signal('SIGTERM');
  const again = setInterval(() => sluice.signal('SIGTERM'), 200);
  t.after(() => clearInterval(again));
  assert.deepEqual(await sluice.stop('SIGTERM'), { code: 1, signal: null });
  clearInterval(again);
  await cut;
  const [line] = sluice.jsonLines(({ path }) => path === '/slow');
  assert.deepEqual([line?.reason, line?.status], ['shutdown', 499]);
});

test('a second signal stops at once with exit 1 and leaves no process behind', async (t) => {
  const { sluice } = await start(t, { drainGrace: '20s', drain: '20s' }, 2);
  sluice.signal('SIGTERM');
  await waitFor(
    'the drain to begin',
    async () => (await askJson(`${sluice.adminUrl}/readyz`)).status === 503,
  );
  const startedMs = performance.now();
  // A signal within half a second of the first counts as its repetition.
  const again = setInterval(() => sluice.signal('SIGTERM'), 200);
  t.after(() => clearInterval(again));
  assert.deepEqual(await sluice.stop('SIGTERM'), { code: 1, signal: null });
  clearInterval(again);
  assert.ok(performance.now() - startedMs < 3_000);
  assert.ok(await canListen(Number(new URL(sluice.proxyUrl).port)));
});
