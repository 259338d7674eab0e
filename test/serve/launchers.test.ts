/** npm run and make run in a checkout: a signal to the launcher must stop the balancer. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Child, spawnChild } from '../support/child.ts';
import { writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function launch(t: TestContext, command: string, wordsFor: (config: string) => string[]): Child {
  const folder = tempFolder(t);
  const config = writeConfig(folder, {
    pools: { app: { backends: [{ url: 'http://127.0.0.1:9' }] } },
    database: { embeddedPath: join(folder, 'postgres') },
  });
  const env = { REDIS_URL: undefined, DATABASE_URL: undefined };
  const child = spawnChild(command, wordsFor(config), { cwd: ROOT, env });
  t.after(() => child.kill());
  return child;
}

async function endsWithIts(child: Child): Promise<void> {
  await child.waitForLine('"ready"');
  child.signal('SIGTERM');
  await waitFor('the launcher to end', () => child.exitStatus !== null || child.groupPids().length === 0);
  assert.deepEqual(child.groupPids(), [], 'no process may be left behind');
  await child.waitForLine('"draining"');
}

test('a SIGTERM to npm run sluice drains and ends the balancer', async (t) => {
  const child = launch(t, 'npm', (config) => ['run', '-s', 'sluice', '--', 'serve', '--config', config]);
  await endsWithIts(child);
  assert.deepEqual(await child.exited, { code: 0, signal: null });
});

test('a SIGTERM to make run drains and ends the balancer', async (t) => {
  // -o: make must not install again in the middle of a test, however old the installation is.
  const installed = ['-o', 'node_modules/.installed-run'];
  await endsWithIts(launch(t, 'make', (config) => [...installed, 'run', `CONFIG_PATH=${config}`]));
});
