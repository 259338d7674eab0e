import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, startNamed } from '../cluster/support.ts';
import { startSilentListener } from '../support/silent-listener.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('connections to the former address of a backend that fail after the reload do not take down the server that has its id now', async (t) => {
  const [spare, moved] = await Promise.all([startNamed('spare'), startNamed('moved')]);
  t.after(() => spare.close());
  t.after(() => moved.close());
  const silentPort = await startSilentListener(t);
  const configOf = (url: string) => {
    const backends = [
      { url, id: 'a' },
      { url: spare.url, id: 'b' },
    ];
    // The probes pass, and none comes again that could hide what failed.
    const healthCheck = { path: '/health', port: Number(new URL(moved.url).port), interval: '60s', fall: 2 };
    return { workers: 1, pools: { app: { backends, healthCheck, timeouts: { connect: '3s' } } } };
  };
  const sluice = await startSluice({ config: configOf(`http://127.0.0.1:${silentPort}`) });
  t.after(() => sluice.stop());
  const asked = Promise.all(Array.from({ length: 12 }, () => ask(sluice.proxyUrl)));
  await waitFor('the other half at the spare one', () => spare.requestCount === 6);
  sluice.configure(configOf(moved.url));
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  assert.deepEqual(new Set((await asked).map(({ text }) => text)), new Set(['spare']));
  assert.ok(sluice.stdout.some((line) => line.includes('a connection to a backend failed')));
  const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
  const [pool] = body.items as { backends: { state: string }[] }[];
  assert.deepEqual(
    pool?.backends.map(({ state }) => state),
    ['up', 'up'],
  );
});
