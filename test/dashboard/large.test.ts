/** What a large installation shows: 200 backends, 500 routes, more clients than fit on a page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
import { Dashboards, goTo } from '../support/dashboard.ts';
import { startSluice } from '../support/sluice.ts';

const BACKENDS = 200;
const ROUTES = 500;
const CLIENTS = 105;
/** Longer than a turn of the page's event loop takes on a machine that is ten times too busy; a table of all rows took 16 s. */
const MAX_TURN_MS = 3_000;
const WATCH = `new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) window.longestMs = Math.max(window.longestMs ?? 0, duration);
}).observe({ type: 'longtask', buffered: true })`;

const numbers = (count: number) =>
  Array.from({ length: count }, (_, index) => String(index).padStart(3, '0'));

test(`${BACKENDS} backends, ${ROUTES} routes and pages of clients are usable`, async (t) => {
  const backends = numbers(BACKENDS).map((number) => ({
    id: `backend-${number}`,
    url: `http://127.0.0.1:9/`,
  }));
  const routes = numbers(ROUTES).map((number) => ({
    name: `route-${number}`,
    pool: 'app',
    match: { path: `/${number}/` },
  }));
  const { adminUrl, stop } = await startSluice({
    data: 'made',
    config: { pools: { app: { backends } }, routes },
  });
  t.after(() => stop());
  for (const number of numbers(CLIENTS)) {
    const { status } = await fetch(`${adminUrl}/api/v1/clients/client-${number}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"mode":"blocked"}',
    });
    assert.equal(status, 201);
  }
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(adminUrl);
  await page.evaluate(WATCH);
  const main = page.getByRole('main');
  const rows = main.locator('tbody tr');

  await goTo(page, 'Pools');
  await main.getByText('backend-199').waitFor();
  assert.equal(await rows.count(), BACKENDS);
  await main.getByLabel('Show backends with').fill('backend-19');
  await main.getByText('backend-001').waitFor({ state: 'detached' });
  assert.equal(await rows.count(), 10);

  await goTo(page, 'Routes');
  await main.getByText('route-499').waitFor();
  assert.equal(await rows.count(), ROUTES);

  await goTo(page, 'Overview');
  await main.getByText(`busiest of ${ROUTES}`).waitFor();

  await goTo(page, 'Clients');
  await main.getByText('client-099').waitFor();
  await main.getByRole('button', { name: 'Show 100 more' }).click();
  await main.getByText('client-104').waitFor();
  assert.equal(await rows.count(), CLIENTS);
  // Somebody else deletes one of the second page, and the list is asked for anew.
  await fetch(`${adminUrl}/api/v1/clients/client-103`, { method: 'DELETE' });
  await main.getByRole('button', { name: 'client-000' }).click();
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await main.getByText('client-103').waitFor({ state: 'detached' });
  await main.getByText('client-104').waitFor();
  assert.equal(await rows.count(), CLIENTS - 1);
  await pageThroughAll(page);
  const longestMs = Number(await page.evaluate('window.longestMs ?? 0'));
  t.diagnostic(`the longest turn took ${longestMs} ms`);
  assert.ok(longestMs <= MAX_TURN_MS, `${longestMs} ms`);
  dashboards.assertNoFaults();
});

/** Many more clients than a page can draw: made by the browser, as the database would take half a minute for them. */
async function pageThroughAll(page: Page): Promise<void> {
  const main = page.getByRole('main');
  let served = 0;
  await page.route('**/api/v1/clients?*', (route) => {
    const items = numbers(100).map((number) => ({
      clientId: `many-${served}-${number}`,
      mode: 'blocked',
      capacity: null,
      refillPerSecond: null,
      limits: {},
    }));
    served += 1;
    return route.fulfill({ json: { items, next: `page-${served}` } });
  });
  await main.getByLabel('Clients that begin with').fill('many');
  for (const number of [1, 2, 3, 4, 5, 6, 7, 8, 9]) {
    await main.getByText(`many-${number - 1}-099`).waitFor();
    await main.getByRole('button', { name: 'Show 100 more' }).click();
  }
  await main.getByText('The first 1,000 are shown').waitFor();
  assert.equal(await main.locator('tbody tr').count(), 1_000);
  assert.equal(await main.getByRole('button', { name: 'Show 100 more' }).count(), 0);
}
