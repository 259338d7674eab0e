import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, metricOf, QUICK_CHECK, startNamed } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('B4: a backend that answers 500 while its probes pass is ejected within five errors of all workers, and comes back', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  let isBroken = true;
  const bad = await startBackend((req, res) =>
    res.writeHead(isBroken && req.url !== '/health' ? 500 : 200).end('c'),
  );
  t.after(() => bad.close());
  const backends = [a, b, bad].map(({ url }, i) => ({ url, id: 'abc'[i] }));
  const outlier = { baseEjection: '2s' };
  const pools = { app: { backends, healthCheck: QUICK_CHECK, outlier } };
  const sluice = await startSluice({ config: { workers: 2, pools } });
  t.after(() => sluice.stop());
  const statuses = async (count: number) => {
    const all: number[] = [];
    for (let i = 0; i < count; i++) all.push((await ask(sluice.proxyUrl)).status);
    return all;
  };
  const concurrent = (await Promise.all([statuses(30), statuses(30), statuses(30), statuses(30)])).flat();
  const errors = concurrent.filter((status) => status === 500).length;
  // Three others may be under way when the fifth error comes.
  assert.ok(errors >= 5 && errors <= 8, `${errors} errors`);
  const viewOf = async () => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
    return (body.items as { backends: Record<string, unknown>[] }[])[0]!.backends[2]!;
  };
  const { state, reason, ejectedUntil } = await viewOf();
  assert.equal(state, 'ejected');
  assert.match(String(reason), /^[5-8] consecutive errors: status 500$/);
  assert.ok(Date.parse(String(ejectedUntil)) - Date.now() <= 2_000);
  const labels = { pool: 'app', backend: 'c' };
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_ejections_total', labels), 1);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_ejections_total', { backend: 'a' }), 0);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_backend_up', labels), 0);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_backend_state', { ...labels, state: 'ejected' }), 1);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_backend_state', labels), 1, 'one state at a time');
  assert.equal(sluice.jsonLines(({ state: logged }) => logged === 'ejected').length, 1);
  isBroken = false;
  await waitFor('it to serve again', async () => (await ask(sluice.proxyUrl)).text === 'c');
  assert.equal((await viewOf()).state, 'up');
});

test('B4: errors in a row count over reloads', async (t) => {
  const good = await startNamed('good');
  t.after(() => good.close());
  const bad = await startBackend((_req, res) => res.writeHead(500).end());
  t.after(() => bad.close());
  const backends = [
    { url: bad.url, id: 'bad', weight: 256 },
    { url: good.url, id: 'good' },
  ];
  const config = { workers: 1, pools: { app: { backends, outlier: {} } } };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  for (let i = 0; i < 5; i++) {
    assert.equal((await ask(sluice.proxyUrl)).status, 500);
    assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  }
  await waitFor('the ejection', async () => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
    const [pool] = body.items as { backends: { state: string }[] }[];
    return pool?.backends[0]?.state === 'ejected';
  });
});
