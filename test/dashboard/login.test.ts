import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dashboards, goTo, signIn } from '../support/dashboard.ts';
import { startSluice } from '../support/sluice.ts';
import { READ_TOKEN, startScene, TOKEN } from './scene.ts';

test('the dashboard asks for a token, keeps it in its tab alone, and says when it is wrong', async (t) => {
  const { adminUrl } = await startScene(t);
  const dashboards = await Dashboards.start(t);

  await t.test('a right token opens the pages, and is in no URL', async () => {
    const page = await dashboards.openLogin(adminUrl);
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    await signIn(page, TOKEN);
    await goTo(page, 'Pools');
    assert.ok(asked.length > 2);
    assert.deepEqual(
      asked.filter((url) => url.includes(TOKEN)),
      [],
    );
    assert.equal(await page.evaluate('JSON.stringify(localStorage).includes("token-that")'), false);
    await page.route(
      '**/api/v1/session',
      (route) => route.fulfill({ status: 503, json: { detail: 'too many calls' } }),
      {
        times: 1,
      },
    );
    await page.reload();
    await page.getByText('Too many calls. Trying again …').waitFor();
    await page.getByRole('heading', { level: 1, name: 'Pools' }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Admin token').waitFor();
    assert.equal(await page.evaluate('sessionStorage.length'), 0);
    await page.context().close();
  });

  await t.test('the read token looks, and its buttons are disabled', async () => {
    const page = await dashboards.open(adminUrl, { token: READ_TOKEN });
    await page.getByText('read only').waitFor();
    await goTo(page, 'Pools');
    assert.equal(await page.getByRole('button', { name: 'Drain one' }).isDisabled(), true);
    await goTo(page, 'Config');
    assert.equal(await page.getByRole('button', { name: 'Reload', exact: true }).isDisabled(), true);
    await page.getByRole('button', { name: 'Check the file' }).click();
    await page.getByText('The file has no mistakes.').waitFor();
    await page.context().close();
  });

  await t.test(
    'a wrong token is refused, after five of them with the wait, and the right one is let in',
    async () => {
      const page = await dashboards.openLogin(adminUrl);
      const message = page.getByRole('alert');
      for (let round = 0; round < 5; round++) {
        const answered = page.waitForResponse((response) => response.url().endsWith('/session'));
        await signIn(page, `wrong-${round}`);
        assert.equal((await answered).status(), 401);
      }
      await page.getByText('This token is wrong.').waitFor();
      await signIn(page, 'wrong-again');
      await page.getByText(/Too many wrong tokens came from your address\. Wait \d+ s/).waitFor();
      assert.ok((await message.textContent())?.includes('Wait'));
      await signIn(page, TOKEN);
      await page.getByRole('navigation', { name: 'Pages' }).waitFor();
    },
  );

  await t.test('a token that is not accepted any more leads back to the login', async () => {
    const page = await dashboards.open(adminUrl, { token: TOKEN });
    await page.route('**/api/v1/config', (route) => route.fulfill({ status: 401, json: { detail: 'no' } }));
    await page.getByRole('link', { name: 'Config' }).click();
    await page.getByText('The token is not accepted any more. Sign in again.').waitFor();
  });
  dashboards.assertNoFaults();
});

test('without a token there is no login', async (t) => {
  const sluice = await startSluice({
    config: { pools: { app: { backends: [{ url: 'http://127.0.0.1:1' }] } } },
  });
  t.after(() => sluice.stop());
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(sluice.adminUrl);
  assert.equal(await page.getByRole('button', { name: 'Sign out' }).count(), 0);
  dashboards.assertNoFaults();
});
