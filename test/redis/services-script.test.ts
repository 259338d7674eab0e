/** Not in test/repository, because a run without services must not install them. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';

const cwd = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Runs the script on a machine of its own: everything is installed but Chromium, and the user is root.
 * @param browser a folder among the browsers of Playwright
 */
async function runWithoutChromium(t: TestContext, programs: Record<string, string>, browser = 'none') {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'browsers', browser), { recursive: true });
  const write = (path: string, text: string) => {
    writeFileSync(join(folder, path), `#!/bin/bash\n${text}\n`);
    chmodSync(join(folder, path), 0o755);
  };
  const installed =
    'redis-server valkey-server openssl pebble pebble-challtestsrv nginx haproxy postgres initdb curl h2load';
  for (const name of installed.split(' ')) write(name, 'exit 1');
  for (const name of ['bash', 'mktemp', 'rm', 'tail', 'env'])
    symlinkSync(`/usr/bin/${name}`, join(folder, name));
  write('id', 'echo 0');
  for (const [name, text] of Object.entries(programs)) write(name, text);
  const env = { PATH: folder, HOME: folder, PLAYWRIGHT_BROWSERS_PATH: join(folder, 'browsers') };
  return runToEnd('/usr/bin/bash', ['scripts/services.sh'], { cwd, env });
}

test('services.sh prints nothing if everything is installed', async () => {
  const present = await runToEnd('scripts/services.sh', [], { cwd });
  assert.deepEqual(present, { code: 0, signal: null, stdout: [], stderr: [] });
});

test('services.sh installs Chromium where the system has a package of it', async (t) => {
  const { code, stderr } = await runWithoutChromium(t, {
    'apt-cache': 'exit 0',
    'apt-get': '[[ "$*" == *update* || "$*" == *"install -y"*" chromium" ]]',
  });
  assert.deepEqual([code, stderr], [0, ['installing chromium']]);
});

test('services.sh goes on without a package of Chromium, as on Ubuntu, and says in a line what will fail', async (t) => {
  const { code, stderr } = await runWithoutChromium(t, {
    'apt-cache': 'exit 100',
    'apt-get': '[[ "$*" == *update* ]]',
    // Of playwright-core, which would fetch a browser.
    node: 'exit 1',
  });
  assert.equal(code, 0);
  assert.deepEqual(stderr.length, 2);
  assert.match(stderr[1] ?? '', /^could not install Chromium: the tests with a browser will fail\. Install /);
});

test('services.sh counts a browser of Playwright only if the tests can start it', async (t) => {
  const programs = {
    'apt-cache': 'exit 100',
    'apt-get': '[[ "$*" == *update* ]]',
    // As playwright-core names it.
    node: 'echo "  Install location:    $PLAYWRIGHT_BROWSERS_PATH/chromium_headless_shell-2"',
  };
  const other = await runWithoutChromium(t, programs, 'chromium_headless_shell-1');
  assert.deepEqual(other.stderr, ['installing chromium']);
  const own = await runWithoutChromium(t, programs, 'chromium_headless_shell-2');
  assert.deepEqual([own.code, own.stderr], [0, []]);
});
