/** Who sends, who is limited, and what happens to a request: Limits, Live, Routes, Config. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { Dashboards, goTo } from '../support/dashboard.ts';
import { startLoad } from '../support/load.ts';
import { untilStill, waitFor } from '../support/wait.ts';
import { startScene, TOKEN } from './scene.ts';

const CALLER = '203.0.113.7';

test('an operator finds who is limited, why, and gives it more', async (t) => {
  const { adminUrl, proxyUrl, configPath } = await startScene(t, {
    routes: [
      { name: 'all', pool: 'app', rateLimit: { policy: 'default' } },
      { name: 'second', pool: 'app', match: { path: '/orders/' } },
    ],
    rateLimit: {
      policies: {
        default: { capacity: 3, refillPerSecond: 0.01 },
        trial: { capacity: 5, refillPerSecond: 1, shadow: true },
      },
    },
  });
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(adminUrl, { token: TOKEN });
  const main = page.getByRole('main');
  const dialog = page.getByRole('dialog');
  const headers = { 'x-forwarded-for': CALLER };
  const ask = async (): Promise<number> => {
    const answer = await fetch(proxyUrl, { headers });
    await answer.arrayBuffer();
    return answer.status;
  };
  const traffic = startLoad({ url: `${proxyUrl}/orders`, connections: 1, pauseMs: 50, headers });
  t.after(() => traffic.stop());

  await t.test('live, an answer that was cut is found as a failure, and shown as one', async () => {
    await goTo(page, 'Live');
    await main.getByLabel('Status').selectOption('5xx');
    const cut = main.locator('.status.bad', { hasText: '200 upstream_reset' }).first();
    let callers = 0;
    await waitFor('the answer that was cut', async () => {
      const others = { 'x-forwarded-for': `198.51.100.${callers++}` };
      const answer = await fetch(`${proxyUrl}/cut`, { headers: others });
      await assert.rejects(answer.arrayBuffer());
      return cut.isVisible();
    });
  });

  await t.test('live, only what was limited', async () => {
    await main.getByLabel('Status').selectOption('429');
    await main.getByRole('cell', { name: '429 limited' }).first().waitFor();
    assert.equal(await main.getByRole('cell', { name: '200 ok' }).count(), 0);
    await main.getByRole('button', { name: 'Pause' }).click();
    await main.getByText('paused').waitFor();
    await main.getByRole('button', { name: 'Go on' }).click();
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    for (const [label, typed, wrong] of [
      ['Slower than, ms', '12,5', 'Slower than, ms must be a whole number.'],
      ['Slower than, ms', '-1', 'Slower than, ms must be a whole number.'],
      ['Client', 'not a client!', 'Client must be a name, an address or a range of addresses.'],
      ['Client', '203.0.113.300', 'Client must be a name, an address or a range of addresses.'],
    ] as const) {
      await main.getByLabel(label).fill(typed);
      await main.getByText(wrong).waitFor();
      assert.equal(await main.getByLabel(label).inputValue(), typed);
      await untilStill('calls with a wrong filter', () => 1 + asked.length);
      await main.getByLabel(label).fill('');
      await main.getByText(wrong).waitFor({ state: 'detached' });
    }
    assert.deepEqual(
      asked.filter((url) => /slowerThanMs|client=/.test(url)),
      [],
    );
    await Promise.all([
      page.waitForRequest(`**/api/v1/requests?client=${CALLER}&*`),
      main.getByLabel('Client').fill(CALLER),
    ]);
  });

  await waitFor('a request that is limited', async () => (await ask()) === 429);
  await t.test('the explanation names the policy that is empty', async () => {
    await goTo(page, 'Routes');
    await main.getByLabel('URL').fill('http://example.com/orders');
    await main.getByLabel('From address').fill(CALLER);
    await main.getByRole('button', { name: 'Explain' }).click();
    const explanation = main.getByRole('region', { name: 'Explanation' });
    await explanation
      .getByText(/429 limited: policy default has 0 tokens left/)
      .first()
      .waitFor();
    await main.getByLabel('Header fields').fill('Host: a.example\nHost: b.example');
    await main.getByLabel('URL').fill('nonsense');
    const [asked] = await Promise.all([
      page.waitForRequest('**/api/v1/explain'),
      main.getByRole('button', { name: 'Explain' }).click(),
    ]);
    assert.deepEqual(asked.postDataJSON().headers, { host: ['a.example', 'b.example'] });
    await main.getByRole('alert').getByText('must begin with http://').waitFor();
    await main.getByRole('row').filter({ hasText: 'second' }).getByText('never reached: all').waitFor();
  });

  await t.test('it is the first of the list, and gets limits of its own there', async () => {
    await goTo(page, 'Limits');
    await main.getByRole('region', { name: 'Limited most' }).getByRole('button', { name: CALLER }).click();
    await dialog.getByText('It has no limits of its own yet.').waitFor();
    await dialog.getByLabel('Capacity of policy default').fill('100000');
    await dialog.getByLabel('Refill per second of policy default').fill('1000');
    await dialog.getByRole('button', { name: 'Create' }).click();
    await dialog.getByText('Saved: every worker knows it.').waitFor();
    // The bucket is empty when the limits change, and is filled by the new ones from then on.
    await waitFor('a token of the new limits', async () => (await ask()) === 200);
    await dialog.getByRole('button', { name: 'Fill the buckets' }).click();
    await dialog.getByText('Filled.').waitFor();
    await page.keyboard.press('Escape');
    await main
      .getByRole('row')
      .filter({ hasText: 'trial' })
      .getByText(/would have refused \d+ in the last minute/)
      .waitFor();
  });

  await t.test('the configuration is checked and reloaded', async () => {
    await goTo(page, 'Config');
    await main.getByText('Sluice runs what the file says.').waitFor();
    await main.getByText('refillPerSecond: 0.01').waitFor();
    await main.getByRole('button', { name: 'Check the file' }).click();
    await main.getByText('The file has no mistakes.').waitFor();
    await main.getByRole('button', { name: 'Reload', exact: true }).click();
    await dialog.getByRole('button', { name: 'Reload' }).click();
    await main.getByText('Revision 2 runs.').waitFor();
    assert.equal(
      await main.getByText('The file has no mistakes.').count(),
      0,
      'it was said of an earlier file',
    );
  });

  await t.test('what somebody else reloads is shown as it runs, and compared anew', async () => {
    const text = readFileSync(configPath, 'utf8');
    writeFileSync(configPath, text.replace('refillPerSecond: 0.01', 'refillPerSecond: 0.02'));
    await main.getByRole('button', { name: 'Check the file' }).click();
    await main.getByText('The file says something else than what runs.').waitFor();
    const headers = { authorization: `Bearer ${TOKEN}` };
    await fetch(`${adminUrl}/api/v1/reload`, { method: 'POST', headers });
    await main.getByText('refillPerSecond: 0.02').waitFor();
    await main.getByText('Sluice runs what the file says.').waitFor();
    writeFileSync(configPath, text.replace('readToken:', 'publicMetrics: true\n  readToken:'));
    await main.getByRole('button', { name: 'Check the file' }).click();
    await main.getByText('changes that a reload refuses: they need a restart').waitFor();
    const row = main.getByRole('row').filter({ hasText: 'admin.publicMetrics' });
    await row.getByRole('cell', { name: 'true' }).waitFor();
  });

  await t.test('the events name who did it', async () => {
    await goTo(page, 'Events');
    await main
      .getByRole('row')
      .filter({ hasText: `client ${CALLER}` })
      .filter({ hasText: 'admin from 127.0.0.1' })
      .first()
      .waitFor();
    await main.getByLabel('Kind').selectOption('reload');
    await main.getByRole('row').filter({ hasText: 'reload' }).first().waitFor();
  });
  await traffic.stop();
  dashboards.assertNoFaults();
});
