import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
import { Dashboards, goTo } from '../support/dashboard.ts';
import type { SluiceProcess } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { startScene, TOKEN } from './scene.ts';

const HOSTILE = '<img src=x onerror=alert(1)>"\'><script>alert(2)</script>';

/** The statuses of so many requests of a caller, or with its key. */
async function statusesOf(
  proxyUrl: string,
  headers: Record<string, string>,
  count: number,
): Promise<number[]> {
  const statuses: number[] = [];
  for (let round = 0; round < count; round++) statuses.push((await fetch(proxyUrl, { headers })).status);
  return statuses;
}

async function makeClient(page: Page, clientId: string, capacity: string): Promise<void> {
  await page.getByRole('button', { name: 'New client' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Client', { exact: true }).fill(clientId);
  await dialog.getByLabel('Capacity of policy default').fill(capacity);
  await dialog.getByLabel('Refill per second of policy default').fill('0.001');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.waitFor({ state: 'detached' });
}

test('clients and their keys', async (t) => {
  const scene = await startScene(t);
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(scene.adminUrl, { token: TOKEN });
  const parts = { ...scene, page };
  await goTo(page, 'Clients');
  await t.test('an operator edits the limits of a client, and the proxy obeys', () => editLimits(parts));
  await t.test(
    'an edit of a client that somebody else has changed meanwhile is kept, and saved only after a look',
    () => editBoth(parts),
  );
  await t.test('a key is shown once, with a name that runs no script, and is revoked', () => useKeys(parts));
  dashboards.assertNoFaults();
});

interface Parts extends Pick<SluiceProcess, 'adminUrl' | 'proxyUrl' | 'workerPids'> {
  /** With the list of clients. */
  page: Page;
}

async function editLimits({ proxyUrl, page, workerPids }: Parts): Promise<void> {
  const caller = { 'x-forwarded-for': '203.0.113.7' };
  await makeClient(page, '203.0.113.7', '2');
  await page.getByRole('row', { name: /^203\.0\.113\.7 .* –$/ }).waitFor();
  assert.deepEqual(await statusesOf(proxyUrl, caller, 3), [200, 200, 429]);
  await page.reload();
  await page.getByRole('row', { name: /^203\.0\.113\.7 .* ago$/ }).waitFor();

  await page.getByRole('button', { name: '203.0.113.7' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Mode').waitFor();
  await dialog.getByText(/^Last request to this machine: .+ ago\.$/).waitFor();
  await dialog.getByLabel('Mode').selectOption('unlimited');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByText('Saved: every worker knows it.').waitFor();
  assert.deepEqual(await statusesOf(proxyUrl, caller, 3), [200, 200, 200]);

  await dialog.getByLabel('Mode').selectOption('limit');
  await dialog.getByLabel('Capacity of policy default').fill('-1');
  await dialog.getByLabel('Refill per second of policy default').fill('1');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByText('must be at least 1').waitFor();
  await dialog.getByLabel('Capacity of policy default').fill('5');
  const [worker = 0] = workerPids();
  process.kill(worker, 'SIGSTOP');
  try {
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.getByText('Saved, but not in worker 0 yet.').waitFor();
  } finally {
    process.kill(worker, 'SIGCONT');
  }
  await dialog.getByLabel('Mode').selectOption('blocked');
  assert.equal(await dialog.getByText('Saved').count(), 0, 'it was said of an earlier edit');

  await dialog.getByRole('button', { name: 'Delete this client' }).click();
  await page
    .getByRole('dialog', { name: 'Delete 203.0.113.7' })
    .getByRole('button', { name: 'Delete' })
    .click();
  await page.getByText('There is no such client.').waitFor();
}

async function editBoth({ adminUrl, page }: Parts): Promise<void> {
  // As a proxy that compresses.
  await page.route('**/api/v1/clients/acme', async (route) => {
    const response = await route.fetch();
    const { etag = '' } = response.headers();
    await route.fulfill({
      response,
      headers: { ...response.headers(), etag: `W/${etag.slice(0, -1)}-gzip"` },
    });
  });
  await makeClient(page, 'acme', '10');
  const record = `${adminUrl}/api/v1/clients/acme`;
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
  const read = async () => (await (await fetch(record, { headers })).json()) as Record<string, unknown>;
  const changeElsewhere = async (body: object) =>
    assert.equal((await fetch(record, { method: 'PATCH', headers, body: JSON.stringify(body) })).status, 200);

  await page.getByRole('button', { name: 'acme' }).click();
  const dialog = page.getByRole('dialog', { name: 'Client acme' });
  const capacity = dialog.getByLabel('Capacity of policy default');
  const save = dialog.getByRole('button', { name: 'Save' });
  await capacity.fill('20');
  await changeElsewhere({ capacity: 30 });
  await save.click();
  await dialog
    .getByText('The client was changed or deleted since it was read; nothing was written.')
    .waitFor();
  assert.equal(await capacity.inputValue(), '20', 'what was typed is kept');
  await dialog.getByRole('button', { name: 'Load the new state' }).click();
  await waitFor('the new state', async () => (await capacity.inputValue()) === '30');
  for (const typed of ['40', '50']) {
    await capacity.fill(typed);
    await save.click();
    await waitFor('the edit', async () => (await read()).capacity === Number(typed));
    await dialog.getByText('Saved: every worker knows it.').waitFor();
  }

  await changeElsewhere({ mode: 'blocked' });
  await dialog.getByRole('button', { name: 'Delete this client' }).click();
  const question = page.getByRole('dialog', { name: 'Delete acme' });
  await question.getByRole('button', { name: 'Delete' }).click();
  await question.getByText(/ Delete it all the same\?$/).waitFor();
  assert.equal((await read()).mode, 'blocked');
  await question.getByRole('button', { name: 'Delete' }).click();
  await page.getByText('There is no such client.').waitFor();
}

async function useKeys({ page }: Parts): Promise<void> {
  await makeClient(page, 'acme', '10');
  await makeClient(page, 'beta', '10');
  await page.getByLabel('Clients that begin with').fill('ac');
  await page.getByRole('button', { name: 'beta' }).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'acme' }).click();
  const keys = page.getByRole('region', { name: 'API keys' });
  await keys.getByLabel('Name of a new key').fill(HOSTILE);
  await keys.getByRole('button', { name: 'Issue a key' }).click();
  const secret = await keys.getByLabel('The new API key').inputValue();
  assert.ok(secret.length > 20, secret);
  await keys.getByRole('cell', { name: HOSTILE, exact: true }).waitFor();
  await page.context().grantPermissions(['clipboard-write']);
  await keys.getByRole('button', { name: 'Copy' }).click();
  await keys.getByRole('button', { name: 'Copied' }).waitFor();
  await keys.getByRole('button', { name: 'Issue a key' }).click();
  await keys.getByRole('button', { name: 'Copy', exact: true }).waitFor();
  await page.reload();
  await keys.getByRole('cell', { name: HOSTILE, exact: true }).waitFor();
  assert.equal((await page.content()).includes(secret), false, 'it is shown once');
  const revoke = keys.getByRole('button', { name: 'Revoke' });
  for (const left of [1, 0]) {
    await revoke.first().click();
    await page.getByRole('dialog', { name: 'Revoke' }).getByRole('button', { name: 'Revoke' }).click();
    await waitFor('one key less', async () => (await revoke.count()) === left);
  }
  await keys.getByText('It has no key.').waitFor();
}
