import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
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

  await t.test(
    'problems are said as they begin and end, the worst are shown, and a drain is seen',
    async () => {
      const tell = await tellSamples(page, sluice.adminUrl);
      const news = main.getByRole('status', { name: 'News' });
      const problem = (key: string, text: string) => ({
        key,
        code: 'c',
        severity: 'error',
        text,
        since: null,
      });
      const many = Array.from({ length: 200 }, (_, index) =>
        problem(`many ${index}`, `many-${index} is down`),
      );
      await tell({ problems: [problem('queue', 'its queue is full: 12/s')] });
      await news.getByText('its queue is full: 12/s.').waitFor();
      await tell({
        problems: [problem('queue', 'its queue is full: 13/s'), problem('redis', 'Redis is away')],
      });
      await news.getByText('Redis is away.', { exact: true }).waitFor();
      await tell({ problems: many, phase: 'draining', waitingWorkers: [{ id: 1, startsInSec: 4 }] });
      await news
        .getByText('many-2 is down. 197 more. No longer: its queue is full: 13/s. No longer: ')
        .waitFor();
      assert.equal(await main.getByText('many-9 is down').isVisible(), true);
      assert.equal(await main.getByText('many-10 is down').isVisible(), false);
      const { y = 0 } = (await main.locator('.chart').first().boundingBox()) ?? {};
      assert.ok(y < 1_000, `the first chart begins at ${y} px`);
      await main.getByText('190 more').click();
      await main.getByText('many-199 is down').waitFor();
      await main.getByText('starts again in 4 s').waitFor();
      await page.getByRole('banner').getByText('draining').waitFor();
      await main.locator('.figures').getByText('draining, revision').waitFor();
      await tell({ problems: [] });
      await news.getByText('197 more. Nothing is wrong any more.').waitFor();
      await waitFor('the end of what was said', async () => (await news.textContent()) === '');
    },
  );
  dashboards.assertNoFaults();
});

/** Loads the page again with a stream of samples that the test sends: what it shows, with other values. */
async function tellSamples(page: Page, adminUrl: string): Promise<(part: object) => Promise<unknown>> {
  const read = async (path: string) => (await fetch(`${adminUrl}/api/v1/${path}`)).json();
  const [status, { items: pools }, history] = await Promise.all(
    ['status', 'pools', 'history?seconds=1'].map(read),
  );
  await page.addInitScript(`{
    const original = window.fetch;
    const stream = new ReadableStream({ start: (sink) => {
      window.tell = (text) => sink.enqueue(new TextEncoder().encode('event: sample\\ndata: ' + text + '\\n\\n'));
    } });
    window.fetch = (path, init) => path === '/api/v1/events'
      ? Promise.resolve(new Response(stream, { headers: { 'content-type': 'text/event-stream' } }))
      : original(path, init);
  }`);
  await page.reload();
  await page.getByText('live', { exact: true }).waitFor();
  return (part) => {
    const sample = { ...status, at: history.endsAt, pools, history, ...part };
    return page.evaluate(`window.tell(${JSON.stringify(JSON.stringify(sample))})`);
  };
}
