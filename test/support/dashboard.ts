/** The dashboard of a real Sluice in a real browser. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { openBrowser } from './browser.ts';
import { runToEnd } from './child.ts';
import { filesUnder } from './imports.ts';
import { makeTempFolder } from './temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TIMEOUT_MS = 15_000;
/** In the order of the navigation. */
export const PAGES = [
  'Overview',
  'Pools',
  'Limits',
  'Clients',
  'Routes',
  'Live',
  'Config',
  'Events',
] as const;

/** buildDashboard builds dist/dashboard where it is missing or older than its sources. */
export async function buildDashboard(): Promise<void> {
  const sources = ['scripts/build-dashboard.ts', ...filesUnder(ROOT, 'src/dashboard', '')];
  const newestMs = Math.max(...sources.map((path) => statSync(`${ROOT}${path}`).mtimeMs));
  const built = statSync(`${ROOT}dist/dashboard/index.html`, { throwIfNoEntry: false });
  if (built !== undefined && built.mtimeMs > newestMs) return;
  const { code, stderr } = await runToEnd(process.execPath, ['scripts/build-dashboard.ts'], { cwd: ROOT });
  assert.equal(code, 0, stderr.join('\n'));
}

interface OpenOptions {
  /** The admin token; absent: the dashboard must not ask for one. */
  token?: string;
  scheme?: 'light' | 'dark';
  viewport?: { width: number; height: number };
}

/** Dashboards opens windows in one browser, and fails the test where one of them logged an error or broke its own policy. */
export class Dashboards {
  readonly #browser: Browser;
  readonly #faults: string[] = [];

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async start(t: TestContext): Promise<Dashboards> {
    await buildDashboard();
    // Where playwright makes the browser's profile. It stays until the process ends, as other files of the test may be in it.
    process.env.TMPDIR = makeTempFolder();
    return new Dashboards(await openBrowser(t));
  }

  /** open resolves with the page once it is signed in. */
  async open(url: string, { token, scheme = 'light', viewport }: OpenOptions = {}): Promise<Page> {
    const page = await this.openLogin(url, { scheme, ...(viewport && { viewport }) });
    if (token !== undefined) await signIn(page, token);
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
    return page;
  }

  /** openLogin opens a window of its own, with a storage of its own. */
  async openLogin(
    url: string,
    { scheme = 'light', viewport = { width: 1280, height: 800 } }: OpenOptions = {},
  ): Promise<Page> {
    const context = await this.#browser.newContext({
      colorScheme: scheme,
      viewport,
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    page.on('pageerror', (error) => this.#faults.push(error.stack ?? error.message));
    page.on('console', (message) => {
      // A call that is refused is no fault of the page.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
        this.#faults.push(message.text());
    });
    page.on('dialog', (dialog) => this.#faults.push(`a script opened a dialog: ${dialog.message()}`));
    await page.goto(url);
    return page;
  }

  /** assertNoFaults belongs to the end of each test. */
  assertNoFaults(): void {
    assert.deepEqual(this.#faults, []);
  }
}

export async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel('Admin token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** setHidden makes the page believe that somebody sees its tab, or that nobody does. */
export async function setHidden(page: Page, isHidden: boolean): Promise<void> {
  await page.evaluate(
    `Object.defineProperty(document, 'hidden', { value: ${isHidden}, configurable: true });
     document.dispatchEvent(new Event('visibilitychange'))`,
  );
}

/** goTo follows the navigation to a page, and resolves once its heading is there. */
export async function goTo(page: Page, title: string): Promise<void> {
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: title }).click();
  await page.getByRole('heading', { level: 1, name: title }).waitFor();
}
