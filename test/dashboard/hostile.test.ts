/** Names that are markup, wherever they come from: between the browser and the admin port each name is replaced by one. */
import assert from 'node:assert/strict';
import { createServer, get, request as httpRequest } from 'node:http';
import { type TestContext, test } from 'node:test';
import { listen } from '../../test_backs/server.ts';
import { Dashboards, goTo } from '../support/dashboard.ts';
import { waitFor } from '../support/wait.ts';
import { startScene, TOKEN } from './scene.ts';

const HOSTILE = `</td></script><img src=x onerror="window.hacked=1">"'><script>window.hacked=2</script>`;
/** Backend, pool, route, policy and client of the scene. */
const NAMES = ['one', 'app', 'all', 'default', 'acme', '203.0.113.7'];
const IN_JSON = JSON.stringify(HOSTILE);

async function startHostile(t: TestContext, adminUrl: string): Promise<string> {
  const proxy = createServer((request, response) => {
    const { 'accept-encoding': _plain, 'if-none-match': _whole, ...headers } = request.headers;
    const { method = 'GET', url = '/' } = request;
    const onward = httpRequest(`${adminUrl}${url}`, { method, headers }, (answer) => {
      const { 'content-length': _changed, ...kept } = answer.headers;
      response.writeHead(answer.statusCode ?? 502, kept);
      const isOurs = url.startsWith('/api/');
      answer.setEncoding('utf8').on('data', (text: string) => {
        const changed = NAMES.reduce((all, name) => all.replaceAll(`"${name}"`, IN_JSON), text);
        response.write(isOurs ? changed : text);
      });
      answer.on('end', () => response.end()).on('error', () => response.destroy());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  const listening = await listen(proxy);
  t.after(() => listening.close());
  return listening.url;
}

test('no name of a backend, pool, route, policy, client or request runs a script', async (t) => {
  const { adminUrl, proxyUrl } = await startScene(t);
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ clientId: 'acme', mode: 'blocked' });
  await fetch(`${adminUrl}/api/v1/clients`, { method: 'POST', headers, body });
  const dashboards = await Dashboards.start(t);
  const page = await dashboards.open(await startHostile(t, adminUrl), { token: TOKEN });
  const send = () =>
    fetch(`${proxyUrl}/${encodeURI(HOSTILE)}`, {
      headers: { 'x-forwarded-for': '203.0.113.7', 'user-agent': HOSTILE },
    });
  for (const title of ['Overview', 'Pools', 'Limits', 'Clients', 'Routes', 'Config'] as const) {
    await send();
    await goTo(page, title);
    // A line break of the layout may stand anywhere in it.
    await page.getByText('window.hacked=2').first().waitFor({ state: 'attached' });
    if (title !== 'Clients') continue;
    await page.getByRole('button', { name: 'window.hacked' }).first().click();
    await page.getByRole('dialog').getByText('window.hacked=2').first().waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  }
  await goTo(page, 'Events');
  await page.getByRole('button', { name: 'Audit' }).click();
  await page.getByText('window.hacked=2').first().waitFor({ state: 'attached' });
  await goTo(page, 'Live');
  await waitFor('a request whose path is markup', async () => {
    get(`${proxyUrl}/`, { path: `/${HOSTILE.replaceAll(' ', '/')}` }, (answer) => void answer.resume()).end();
    return page.getByRole('cell', { name: 'window.hacked=2' }).first().isVisible();
  });
  await page.setViewportSize({ width: 390, height: 800 });
  const long = page.getByRole('cell', { name: 'long-path' }).first();
  await waitFor('a request with a path of 4 KB', async () => {
    get(`${proxyUrl}/`, { path: `/long-path${'/x'.repeat(2_000)}` }, (answer) => void answer.resume()).end();
    return long.isVisible();
  });
  const { height = 0 } = (await long.boundingBox()) ?? {};
  assert.ok(height < 80, `a long path is ${height} px high`);
  assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 390, 'as wide as a phone');
  assert.equal(await page.evaluate('window.hacked'), undefined);
  assert.equal(await page.locator('img').count(), 0);
  dashboards.assertNoFaults();
});
