/** Every page in both colour schemes, held to the rules of axe-core. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
import { Dashboards, goTo, PAGES } from '../support/dashboard.ts';
import { startScene, TOKEN } from './scene.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What the page breaks; each rule with the elements. */
async function violationsOf(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(`axe.run({ resultTypes: ['violations'] }).then(({ violations }) =>
    violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => id + ' ' + target.join(' ') + ' ' + failureSummary)))`);
}

for (const scheme of ['light', 'dark'] as const) {
  test(`no page breaks a rule of accessibility: ${scheme}`, async (t) => {
    const { adminUrl, proxyUrl } = await startScene(t);
    const dashboards = await Dashboards.start(t);
    for (let round = 0; round < 120; round++) await (await fetch(`${proxyUrl}/${round}`)).arrayBuffer();
    assert.deepEqual(await violationsOf(await dashboards.openLogin(adminUrl, { scheme })), []);
    const page = await dashboards.open(adminUrl, { token: TOKEN, scheme });
    for (const title of PAGES) {
      await goTo(page, title);
      await page.waitForLoadState();
      assert.deepEqual(await violationsOf(page), [], title);
    }
    await page.getByRole('button', { name: 'Audit' }).click();
    await page.getByRole('cell', { name: 'instance' }).first().waitFor();
    assert.deepEqual(await violationsOf(page), [], 'the audit');
    await goTo(page, 'Pools');
    await page.getByRole('button', { name: 'Drain one' }).click();
    await page.getByRole('dialog').waitFor();
    assert.deepEqual(await violationsOf(page), [], 'a question');
    await page.keyboard.press('Escape');
    await goTo(page, 'Clients');
    await page.getByRole('button', { name: 'New client' }).click();
    await page.getByRole('dialog').waitFor();
    assert.deepEqual(await violationsOf(page), [], 'a form');
    dashboards.assertNoFaults();
  });
}
