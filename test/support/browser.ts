/** The browser of the tests: the machine's Chromium, or the one that Playwright has fetched. */
import type { TestContext } from 'node:test';
import { type Browser, chromium } from 'playwright-core';
import { findProgram } from '../../bench/rig/tools.ts';

const TIMEOUT_MS = 60_000;
const NAMES = ['chromium', 'google-chrome'];
const HOW =
  'no Chromium: install it (Debian: chromium), or run `node_modules/.bin/playwright-core install --with-deps --only-shell chromium`';

/** openBrowser starts a browser without a window; it ends with the test. @param more further arguments of Chromium */
export async function openBrowser(t: TestContext, more: string[] = []): Promise<Browser> {
  const executablePath = NAMES.map(findProgram).find((path) => path !== null);
  const args = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', ...more];
  const browser = await chromium
    .launch({ ...(executablePath !== undefined && { executablePath }), args, timeout: TIMEOUT_MS })
    .catch((cause: Error) => {
      throw executablePath === undefined ? new Error(HOW, { cause }) : cause;
    });
  t.after(() => browser.close());
  return browser;
}
