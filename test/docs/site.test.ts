/** `make docs`: all pages, a search that works without a network, and no link into nothing. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename, extname, join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { DefaultTheme } from 'vitepress';
import { anchorOf, checkAnchors, keepLinks, placeOf } from '../../docs/.vitepress/links.ts';
import { sidebar } from '../../docs/.vitepress/sidebar.ts';
import { listen } from '../../test_backs/server.ts';
import { openBrowser } from '../support/browser.ts';
import { runToEnd } from '../support/child.ts';
import { filesUnder } from '../support/imports.ts';
import { makeTempFolder, tempFolder } from '../support/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
const site = makeTempFolder('sluice-site-');
const pages = [
  ...filesUnder(ROOT, 'docs', '.md'),
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'SECURITY.md',
];

before(async () => {
  const program = 'node_modules/vitepress/bin/vitepress.js';
  const built = await runToEnd(process.execPath, [program, 'build', 'docs', '--outDir', site], { cwd: ROOT });
  assert.equal(built.code, 0, [...built.stdout, ...built.stderr].join('\n'));
});

function linksOf(items: DefaultTheme.SidebarItem[]): string[] {
  return items.flatMap(({ link, items: inner = [] }) => [...(link ? [link] : []), ...linksOf(inner)]);
}

test('every page is in the site, and once in its navigation', () => {
  const places = pages.map(placeOf);
  for (const place of places) assert.ok(existsSync(join(site, place.replace(/md$/, 'html'))), place);
  const listed = linksOf(sidebar).map((link) => `${link.slice(1)}${link.endsWith('/') ? 'index' : ''}.md`);
  assert.deepEqual(listed.toSorted(), places.toSorted());
});

test('each recipe is served by a test, and listed with its title', () => {
  const tests = filesUnder(ROOT, 'test/docs', '.test.ts').map((path) =>
    readFileSync(join(ROOT, path), 'utf8'),
  );
  const list = readFileSync(join(ROOT, 'docs/cookbook/README.md'), 'utf8');
  const recipes = filesUnder(ROOT, 'docs/cookbook', '.md').filter((path) => !path.endsWith('README.md'));
  assert.equal(recipes.length, 25);
  for (const path of recipes) {
    const name = basename(path, '.md');
    const isServed = new RegExp(`(^ {2}|')${name}([':])`, 'm');
    assert.ok(
      tests.some((text) => isServed.test(text)),
      path,
    );
    const [, title = ''] = /^# (.*)/.exec(readFileSync(join(ROOT, path), 'utf8')) ?? [];
    assert.ok(list.includes(`- [${title}](${name}.md)`), path);
  }
});

test('files that pages link to come with the site', () => {
  for (const path of ['config/local.yaml', 'lua/take-tokens-n.lua'])
    assert.deepEqual(readFileSync(join(site, 'files', path)), readFileSync(join(ROOT, path)));
  assert.match(
    readFileSync(join(site, 'files/config/grafana/index.html'), 'utf8'),
    /href="\.\/sluice\.json"/,
  );
});

test('a link to a page, a file or a section that is not there fails the build', async (t) => {
  const { createMarkdownRenderer } = await import('vitepress');
  const markdown = await createMarkdownRenderer(ROOT, { anchor: { slugify: anchorOf }, config: keepLinks });
  const render = (text: string) =>
    markdown.renderAsync(text, { path: join(ROOT, 'docs/tls.md'), relativePath: 'tls.md', cleanUrls: false });
  assert.match(await render('[a](health.md#panic)'), /href="\/?health.html#panic"/);
  assert.match(await render('[a](../LICENSE)'), /href="\.\/files\/LICENSE"/);
  await assert.rejects(render('[a](helth.md)'), /docs\/tls\.md: helth\.md is not there/);
  await assert.rejects(render('[a](../config/none.yaml)'), /none\.yaml is not there/);
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'a.html'), '<h2 id="here">x</h2><a href="./b.html#there">y</a>');
  writeFileSync(join(folder, 'b.html'), '<a class="z" href="./a.html#here">y</a>');
  assert.throws(() => checkAnchors(folder), /a\.html: b\.html#there is not there/);
});

test('in a browser the search finds a section, and nothing is asked of another server', async (t) => {
  const server = createServer((request, response) => {
    const name = (request.url ?? '').replace(/^\/docs\//, '').replace(/\?.*$/, '');
    const path = join(site, name || 'index.html');
    if (!existsSync(path)) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' });
    return response.end(readFileSync(path));
  });
  const { port, close } = await listen(server);
  t.after(close);
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${port}/docs/`)) faults.push(request.url());
  });
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('response', (response) => response.status() >= 400 && faults.push(response.url()));
  await page.goto(`http://127.0.0.1:${port}/docs/`);
  await page.locator('.VPNavBarSearch button').first().click();
  await page.locator('.VPLocalSearchBox input').fill('slow start');
  const found = page.locator('.VPLocalSearchBox .result', { hasText: 'Slow start' });
  await found.first().click();
  await page.waitForURL(/\/docs\/health\.html#slow-start$/);
  assert.match(await page.locator('h1').innerText(), /^Health of backends/);
  assert.deepEqual(faults, []);
});
