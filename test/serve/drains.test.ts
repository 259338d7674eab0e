import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, metricOf, QUICK_CHECK, startNamed } from '../cluster/support.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

interface View {
  id: string;
  state: string;
  reason: string | null;
  lastProbe: { ok: boolean } | null;
}

test('a backend of weight 0 takes no request, is probed and shown as drained; a backup serves while it is the only one', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  const config = (more: { a?: object; b?: object }) => {
    const backends = [
      { url: a.url, id: 'a', ...more.a },
      { url: b.url, id: 'b', ...more.b },
    ];
    return { workers: 2, pools: { app: { backends, healthCheck: QUICK_CHECK } } };
  };
  const sluice = await startSluice({ config: config({ b: { backup: true } }) });
  t.after(() => sluice.stop());
  const reload = async (more: Parameters<typeof config>[0]) => {
    sluice.configure(config(more));
    assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  };
  const answers = async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => ask(sluice.proxyUrl)));
    return [...new Set(all.map(({ status, text }) => (status === 200 ? text : status)))];
  };
  assert.deepEqual(await answers(), ['a']);

  await reload({ a: { weight: 0 }, b: { backup: true } });
  assert.deepEqual(await answers(), ['b']);
  const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
  const [view] = (body.items as { backends: View[] }[])[0]!.backends;
  assert.equal(view?.state, 'draining');
  assert.equal(view?.reason, 'drained by configuration (weight 0)');
  assert.equal(view?.lastProbe?.ok, true, 'it is probed');
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_backend_up', { backend: 'a' }), 0);

  await reload({ a: { weight: 0 }, b: { weight: 0 } });
  assert.deepEqual(await answers(), [503]);

  await reload({ b: { backup: true } });
  assert.deepEqual(await answers(), ['a']);
  await a.close();
  await waitFor('the backup to answer', async () => String(await answers()) === 'b');
});
