import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend } from '../support/backend.ts';
import { Dashboards, goTo } from '../support/dashboard.ts';
import { waitFor } from '../support/wait.ts';
import { startScene, TOKEN } from './scene.ts';

const HEADERS = { authorization: `Bearer ${TOKEN}` };

test('an operator drains a backend after one question, the last one after two, and enables them again', async (t) => {
  const { adminUrl } = await startScene(t);
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(adminUrl, { token: TOKEN });
  const stateOf = async (id: string) => {
    const { items } = (await (await fetch(`${adminUrl}/api/v1/pools`, { headers: HEADERS })).json()) as {
      items: { backends: { id: string; state: string }[] }[];
    };
    return items[0]?.backends.find((backend) => backend.id === id)?.state;
  };
  const row = (id: string) => page.getByRole('row').filter({ hasText: id });
  const dialog = page.getByRole('dialog');
  await goTo(page, 'Pools');
  await row('one').getByText('up', { exact: true }).waitFor();

  await page.getByRole('button', { name: 'Drain one' }).click();
  await dialog.getByText('Backend one of pool app gets no new requests').waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await stateOf('one'), 'up');

  await page.getByRole('button', { name: 'Drain one' }).click();
  await dialog.getByRole('button', { name: 'Drain' }).click();
  await row('one').getByText('draining', { exact: true }).waitFor();
  assert.equal(await stateOf('one'), 'draining');

  await page.getByRole('button', { name: 'Drain two' }).click();
  await dialog.getByRole('button', { name: 'Drain' }).dblclick();
  await dialog.getByText('Backend two is the last one of pool app that takes requests').waitFor();
  assert.equal(await stateOf('two'), 'up');
  await dialog.getByRole('button', { name: 'Drain' }).click();
  await waitFor('the drain', async () => (await stateOf('two')) === 'draining');

  for (const id of ['one', 'two']) {
    await page.getByRole('button', { name: `Enable ${id}` }).click();
    await dialog.getByRole('button', { name: 'Enable' }).click();
    await row(id).getByText('up', { exact: true }).waitFor();
  }
  dashboards.assertNoFaults();
});

test('a pool whose queue is full says how many requests it refuses', async (t) => {
  const holding = await startBackend(() => undefined);
  t.after(() => holding.close());
  const limits = { maxConcurrentPerBackend: 1, queue: 0 };
  const pools = { app: { backends: [{ url: holding.url }], limits } };
  const { adminUrl, proxyUrl } = await startScene(t, { workers: 1, pools });
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(adminUrl, { token: TOKEN });
  await goTo(page, 'Pools');
  const leaving = new AbortController();
  t.after(() => leaving.abort());
  for (let i = 0; i < 9; i++) void fetch(proxyUrl, { signal: leaving.signal }).catch(() => undefined);
  await page.getByText(/^queue full: .+ requests\/s refused$/).waitFor();
  dashboards.assertNoFaults();
});
