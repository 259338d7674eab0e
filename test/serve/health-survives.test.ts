import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, QUICK_CHECK, startNamed } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { startSluice } from '../support/sluice.ts';
import { makeTempFolder, removeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

test('drains and ejections outlive the restart of a primary, one that was killed as soon as it had answered too', async (t) => {
  const folder = makeTempFolder('sluice-survives-');
  t.after(() => removeTempFolder(folder));
  const good = await startNamed('good');
  t.after(() => good.close());
  const spare = await startNamed('spare');
  t.after(() => spare.close());
  const bad = await startBackend((req, res) => res.writeHead(req.url === '/health' ? 200 : 500).end());
  t.after(() => bad.close());
  const backends = [good, spare, bad].map(({ url }, i) => ({ url, id: ['good', 'spare', 'bad'][i] }));
  const pools = { app: { backends, healthCheck: QUICK_CHECK, outlier: { baseEjection: '200s' } } };
  const start = () => startSluice({ config: { pools, primary: { graceWithout: '0s' } }, folder });
  const statesOf = async (sluice: Awaited<ReturnType<typeof start>>) => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
    const [pool] = body.items as { backends: { state: string; ejectedUntil: string | null }[] }[];
    return pool!.backends.map(({ state, ejectedUntil }) => ({ state, ejectedUntil }));
  };
  const first = await start();
  t.after(() => first.stop());
  for (let i = 0; i < 20; i++) await ask(first.proxyUrl);
  await askJson(`${first.adminUrl}/api/v1/pools/app/backends/spare/drain`, { method: 'POST' });
  const before = await statesOf(first);
  assert.deepEqual(
    before.map(({ state }) => state),
    ['up', 'draining', 'ejected'],
  );
  await first.stop();
  const second = await start();
  t.after(() => second.child.kill());
  assert.deepEqual(await statesOf(second), before);
  assert.equal((await ask(second.proxyUrl)).text, 'good');
  await askJson(`${second.adminUrl}/api/v1/pools/app/backends/spare/enable`, { method: 'POST' });
  second.signal('SIGKILL');
  await second.child.exited;
  await waitFor('the workers to end', () => second.workerPids().length === 0);
  const third = await start();
  t.after(() => third.stop());
  const after = await statesOf(third);
  assert.deepEqual(
    after.map(({ state }) => state),
    ['up', 'up', 'ejected'],
  );
  assert.equal(after[2]?.ejectedUntil, before[2]?.ejectedUntil);
  await waitFor('the spare one to serve', async () => (await ask(third.proxyUrl)).text === 'spare');
});
