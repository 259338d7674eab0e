import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend } from '../support/backend.ts';
import { Dashboards, goTo, setHidden } from '../support/dashboard.ts';
import { freePort } from '../support/free-port.ts';
import { startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { untilStill, waitFor } from '../support/wait.ts';

const USABLE_MS = 1_000;
const TRIES = 4;
const LIMITS_EVERY_MS = 2_000;
/** Runs in the page before its own script: notes when the first figures are there, in ms since the navigation. */
const WATCH = `new MutationObserver(() => {
  if (window.usableMs === undefined && document.querySelector('.figures')) window.usableMs = performance.now();
}).observe(document, { childList: true, subtree: true })`;

test('the overview shows the traffic as it is, says what is wrong, and notices a lost connection', async (t) => {
  const backend = await startBackend((_, response) => response.end('ok'));
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const config = {
    admin: { address: `127.0.0.1:${await freePort()}` },
    pools: {
      app: {
        backends: [{ url: backend.url, id: 'one' }],
        healthCheck: { path: '/', interval: '500ms', timeout: '450ms' },
      },
    },
  };
  const sluice = await startSluice({ folder, config });
  t.after(() => sluice.stop());
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(sluice.adminUrl);
  const main = page.getByRole('main');

  await t.test('nothing is wrong, and requests are counted', async () => {
    await main.getByText('Nothing is wrong.').waitFor();
    const rate = main.locator('.figures > div').filter({ hasText: 'Requests/s' }).locator('dd');
    await waitFor('a rate above 0', async () => {
      await (await fetch(sluice.proxyUrl)).text();
      return Number(await rate.textContent()) > 0.5;
    });
    assert.equal(await main.locator('.chart canvas').count(), 6);
  });

  await t.test('a backend that dies is said in words, in the list and to a screen reader', async () => {
    await backend.close();
    const sentence = /backend one .*is down since/;
    await main.getByRole('region', { name: 'What is wrong now' }).getByText(sentence).waitFor();
    await main.getByRole('status', { name: 'News' }).getByText(sentence).waitFor();
  });

  await t.test('a lost connection is told, and the next one is found', async () => {
    await sluice.stop();
    await main.getByText('What is shown is from before.').waitFor();
    await page.getByText('disconnected').waitFor();
    // While nobody answers: later the page may have found the next one by itself, and the button is gone.
    const tried = page.waitForEvent('requestfailed');
    await main.getByRole('button', { name: 'Try now' }).click();
    await tried;
    const again = await startSluice({ folder, config });
    t.after(() => again.stop());
    await page.getByText('live', { exact: true }).waitFor();
    assert.equal(await main.getByRole('button', { name: 'Try now' }).count(), 0);
  });

  await t.test('a hidden tab holds no connection, and asks later for what it missed', async () => {
    const isOf = (path: string) => (request: { url(): string }) => request.url().endsWith(path);
    const isStream = isOf('/api/v1/events');
    await goTo(page, 'Limits');
    await main.getByText('Nobody was limited').waitFor();
    await Promise.all([page.waitForEvent('requestfailed', isStream), setHidden(page, true)]);
    await page.getByText('connecting', { exact: true }).waitFor();
    let callCount = 1;
    page.on('request', () => callCount++);
    await untilStill('the calls of a hidden tab', () => callCount, { quietMs: LIMITS_EVERY_MS + 500 });
    const [again] = await Promise.all([
      page.waitForRequest(isStream),
      page.waitForRequest(isOf('/api/v1/status')),
      page.waitForRequest(isOf('/api/v1/top?by=limited&limit=15')),
      setHidden(page, false),
    ]);
    assert.match(again.headers()['last-event-id'] ?? '', /^\d{13}$/);
    await page.getByText('live', { exact: true }).waitFor();
    await goTo(page, 'Overview');
  });

  await t.test(`it is usable within ${USABLE_MS} ms`, async () => {
    await page.addInitScript(WATCH);
    let bestMs = Number.POSITIVE_INFINITY;
    // The machine may be busy with other tests: the best of some.
    for (let round = 0; round < TRIES && bestMs > USABLE_MS; round++) {
      await page.reload();
      await main.locator('.figures').waitFor();
      bestMs = Math.min(bestMs, Number(await page.evaluate('window.usableMs')));
    }
    t.diagnostic(`usable after ${Math.round(bestMs)} ms`);
    assert.ok(bestMs <= USABLE_MS, `${bestMs} ms`);
  });
  dashboards.assertNoFaults();
});
