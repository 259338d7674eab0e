import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dashboards, goTo } from '../support/dashboard.ts';
import { waitFor } from '../support/wait.ts';
import { startScene, TOKEN } from './scene.ts';

const PAGE_ROWS = 100;
const DAY_MS = 86_400_000;
const headers = { authorization: `Bearer ${TOKEN}` };

test('an operator finds in the audit who changed what, and when', async (t) => {
  const { adminUrl } = await startScene(t);
  const write = async (method: string, path: string) => {
    const { status } = await fetch(`${adminUrl}/api/v1${path}`, { method, headers });
    assert.ok(status < 300, `${method} ${path}: ${status}`);
  };
  for (let round = 0; round < PAGE_ROWS / 2; round++)
    for (const operation of ['drain', 'enable']) await write('POST', `/pools/app/backends/one/${operation}`);
  await write('POST', '/reload');
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(adminUrl, { token: TOKEN });
  const main = page.getByRole('main');
  const rows = main.locator('tbody tr');
  await goTo(page, 'Events');
  await main.getByRole('button', { name: 'Audit' }).click();

  await t.test('the newest events come first, further ones when they are asked for', async () => {
    const newest = main.getByRole('row').filter({ hasText: 'a reload was asked for: revision 2' });
    await newest.getByRole('cell', { name: 'admin from 127.0.0.1' }).waitFor();
    assert.equal(await rows.count(), PAGE_ROWS);
    await main.getByRole('button', { name: `Show ${PAGE_ROWS} more` }).click();
    await waitFor('the next page', async () => (await rows.count()) > PAGE_ROWS);
  });

  await t.test('they are searched by kind, subject, actor and time', async () => {
    await main.getByLabel('Kind').selectOption('admin');
    await main.getByRole('row').filter({ hasText: 'backend state' }).first().waitFor({ state: 'detached' });
    await main.getByLabel('About').fill('configuration');
    await waitFor('the reload alone', async () => (await rows.count()) === 1);
    await rows.getByText('Facts').click();
    await rows.getByText('method: POST').waitFor();
    await main.getByLabel('Who').fill('192.0.2.1');
    await main.getByText('No event matches.').waitFor();
    await main.getByLabel('Who').fill('admin');
    await waitFor('the reload', async () => (await rows.count()) === 1);
    const tomorrow = new Date(Date.now() + DAY_MS).toISOString().slice(0, 16);
    await main.getByLabel('Until').fill(tomorrow);
    await waitFor('the reload of today', async () => (await rows.count()) === 1);
    await main.getByLabel('Since').fill(tomorrow);
    await main.getByText('No event matches.').waitFor();
    await main.getByRole('button', { name: 'Clear the filters' }).click();
    await waitFor('all of the first page', async () => (await rows.count()) === PAGE_ROWS);
  });

  await t.test(
    'what happens meanwhile is there when it is asked again, and the address leads here',
    async () => {
      await write('POST', '/reload');
      await main.getByRole('button', { name: 'Ask again' }).click();
      await main.getByRole('row').filter({ hasText: 'a reload was asked for: revision 3' }).waitFor();
      await page.reload();
      await main.getByRole('row').filter({ hasText: 'a reload was asked for: revision 3' }).waitFor();
      await main.getByRole('button', { name: 'Live' }).click();
      await main.getByText('Of this machine').waitFor();
    },
  );
  dashboards.assertNoFaults();
});
