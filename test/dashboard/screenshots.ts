/**
 * `make screenshots`: writes each page of the dashboard into docs/images, light, dark and as on a phone, from a Sluice with some traffic. It
 * takes a minute; look at the pictures before they are committed.
 */
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { setInterval as ticks } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Locator, Page } from 'playwright-core';
import { startBackend } from '../support/backend.ts';
import { Dashboards, goTo, PAGES } from '../support/dashboard.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

const FOLDER = fileURLToPath(new URL('../../docs/images', import.meta.url));
const TRAFFIC_SEC = 40;
const REQUESTS_PER_TICK = 12;
const TICK_MS = 200;
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

const BACKENDS = ['app-1', 'app-2', 'app-3', 'static-1'];

async function start(t: import('node:test').TestContext): Promise<SluiceProcess> {
  const backends = await Promise.all(
    BACKENDS.map(() =>
      startBackend((request, response) => {
        const path = request.url ?? '/';
        const isProbe = path === '/health';
        const delayMs = isProbe ? 0 : 2 + Math.random() ** 4 * 80;
        setTimeout(() => {
          response.statusCode = !isProbe && Math.random() < 0.01 ? 500 : 200;
          response.end('ok');
        }, delayMs);
      }),
    ),
  );
  t.after(() => Promise.all(backends.map((backend) => backend.close())));
  const of = (name: string) => {
    const index = BACKENDS.indexOf(name);
    return { id: name, url: backends[index]?.url, weight: index === 0 ? 2 : 1 };
  };
  const healthCheck = { path: '/health', interval: '1s', timeout: '500ms' };
  const sluice = await startSluice({
    data: 'made',
    config: {
      workers: 2,
      trustedProxies: ['127.0.0.0/8'],
      pools: {
        app: {
          balance: 'least_requests',
          healthCheck,
          backends: [of('app-1'), of('app-2'), of('app-3'), { id: 'app-4', url: 'http://127.0.0.1:9' }],
        },
        static: { healthCheck, backends: [of('static-1')] },
      },
      routes: [
        { name: 'assets', match: { path: '/assets/' }, pool: 'static', rateLimit: 'off' },
        {
          name: 'reports',
          match: { path: '/reports/' },
          pool: 'app',
          rateLimit: { policy: ['default', 'daily'], cost: 10 },
        },
        {
          name: 'api',
          match: { path: '/api/', methods: ['GET', 'POST'] },
          pool: 'app',
          rateLimit: { policy: ['default', 'trial'], cost: 1 },
        },
        { name: 'rest', pool: 'app', priority: 'low', rateLimit: { policy: 'default', cost: 1 } },
      ],
      rateLimit: {
        policies: {
          default: { capacity: 100, refillPerSecond: 10 },
          daily: { capacity: 10_000, refillPerSecond: 0.11 },
          trial: { capacity: 20, refillPerSecond: 2, shadow: true },
        },
      },
    },
  });
  t.after(() => sluice.stop());
  return sluice;
}

const PATHS = [
  '/assets/app.js',
  '/assets/logo.svg',
  '/',
  '/api/orders/17',
  '/api/orders',
  '/reports/2026',
  '/search?q=pump',
  '/cart',
];
const CALLERS = ['203.0.113.7', '203.0.113.7', '203.0.113.7', '198.51.100.24', '192.0.2.61', '2001:db8::51'];

async function sendTraffic({ proxyUrl }: SluiceProcess, signal: AbortSignal): Promise<void> {
  for await (const _ of ticks(TICK_MS)) {
    if (signal.aborted) return;
    const requests = Array.from({ length: REQUESTS_PER_TICK }, async () => {
      const pick = <T>(of: readonly T[]): T => of[Math.floor(Math.random() ** 1.5 * of.length)] as T;
      const response = await fetch(`${proxyUrl}${pick(PATHS)}`, {
        headers: { 'x-forwarded-for': pick(CALLERS) },
      });
      await response.arrayBuffer();
    });
    await Promise.all(requests);
  }
}

async function makeClients({ adminUrl }: SluiceProcess): Promise<void> {
  const put = (clientId: string, body: object) =>
    fetch(`${adminUrl}/api/v1/clients/${encodeURIComponent(clientId)}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  for (const [index, clientId] of [
    'acme',
    'acme-staging',
    'beta-shop',
    'gamma',
    'delta-partners',
    '192.0.2.0/24',
  ].entries())
    await put(
      clientId,
      index % 3 === 1
        ? { mode: 'unlimited' }
        : { capacity: 100 * (index + 1), refillPerSecond: 10 * (index + 1) },
    );
  await put('198.51.100.99', { mode: 'blocked' });
  await fetch(`${adminUrl}/api/v1/clients/acme/keys`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'production' }),
  });
}

async function explain(page: Page): Promise<void> {
  await page.getByLabel('URL').fill('http://shop.example.com/api/orders/17');
  await page.getByLabel('From address').fill('203.0.113.7');
  await page.getByRole('button', { name: 'Explain' }).click();
}

/** What a page has once all of it has come. */
const LAST: Record<(typeof PAGES)[number], (main: Locator) => Locator> = {
  Overview: (main) => main.locator('.chart canvas').nth(5),
  Pools: (main) => main.getByRole('cell', { name: 'down' }),
  Limits: (main) => main.getByRole('region', { name: 'Limited most' }).getByRole('button').first(),
  Clients: (main) => main.getByRole('button', { name: 'gamma' }),
  Routes: (main) => main.getByRole('region', { name: 'Explanation' }),
  Live: (main) => main.locator('tbody tr').nth(40),
  Config: (main) => main.getByText('Sluice runs what the file says.'),
  Events: (main) => main.getByRole('cell', { name: 'backend state' }).first(),
};

async function shoot(page: Page, kind: string): Promise<void> {
  const main = page.getByRole('main');
  const save = async (name: string, fullPage = false): Promise<void> => {
    await main.getByText('Loading …').first().waitFor({ state: 'detached' });
    await page.screenshot({ path: `${FOLDER}/${name}-${kind}.png`, fullPage });
  };
  for (const title of PAGES) {
    await goTo(page, title);
    if (title === 'Routes') await explain(page);
    await LAST[title](main).waitFor();
    await save(title.toLowerCase(), title === 'Overview');
  }
  await main.getByRole('button', { name: 'Audit' }).click();
  await main.getByLabel('Kind').selectOption('admin');
  await main.getByRole('cell', { name: 'instance' }).first().waitFor({ state: 'detached' });
  await main.getByRole('row').filter({ hasText: 'API key' }).getByText('Facts').click();
  await save('audit');
  await goTo(page, 'Clients');
  await main.getByRole('button', { name: 'acme', exact: true }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('production', { exact: true }).waitFor();
  await dialog.getByRole('meter').first().waitFor();
  await save('client');
}

test('screenshots', async (t) => {
  mkdirSync(FOLDER, { recursive: true });
  const sluice = await start(t);
  const dashboards = await Dashboards.start(t);
  await makeClients(sluice);
  const ended = new AbortController();
  const traffic = sendTraffic(sluice, ended.signal);
  await waitFor(
    'enough of the charts',
    async () => {
      const answer = await fetch(`${sluice.adminUrl}/api/v1/history?seconds=${TRAFFIC_SEC}`);
      const { series } = (await answer.json()) as { series: { p99Ms: (number | null)[] } };
      return series.p99Ms.every((value) => value !== null);
    },
    { timeoutMs: 3 * TRAFFIC_SEC * 1_000 },
  );
  for (const scheme of ['light', 'dark'] as const)
    await shoot(await dashboards.open(sluice.adminUrl, { scheme, viewport: DESKTOP }), scheme);
  await shoot(await dashboards.open(sluice.adminUrl, { viewport: PHONE }), 'phone');
  ended.abort();
  await traffic;
  dashboards.assertNoFaults();
});
