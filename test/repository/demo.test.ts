/** scripts/demo.ts (`make demo`, `make backends`): all parts start and end together. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { type Child, isRunning, processes, spawnChild } from '../support/child.ts';
import { freePort } from '../support/free-port.ts';
import { writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface LocalConfig {
  pools: { app: { backends: { url: string }[] } };
  [key: string]: unknown;
}

interface Demo {
  child: Child;
  /** Arguments of the command line. */
  words: string[];
  /** Pids of the demo and its descendants when all had started. */
  pids: number[];
  proxyUrl: string;
}

/** config/local.yaml with free ports and a separate folder for the embedded stores. */
async function startDemo(t: TestContext): Promise<Demo> {
  const folder = tempFolder(t);
  const ports = [await freePort(), await freePort(), await freePort()];
  const local = parse(readFileSync(`${ROOT}config/local.yaml`, 'utf8')) as LocalConfig;
  assert.deepEqual(
    local.pools.app.backends.map(({ url }) => url),
    [8081, 8082, 8083].map((port) => `http://127.0.0.1:${port}`),
  );
  const configPath = writeConfig(folder, {
    ...local,
    listen: [{ address: '127.0.0.1:0' }],
    admin: { address: '127.0.0.1:0' },
    database: { embeddedPath: join(folder, 'postgres') },
    pools: {
      app: { ...local.pools.app, backends: ports.map((port) => ({ url: `http://127.0.0.1:${port}` })) },
    },
  });
  const words = [`--ports=${ports.join()}`, `--config=${configPath}`];
  const child = spawnChild(process.execPath, ['scripts/demo.ts', ...words], {
    cwd: ROOT,
    env: { REDIS_URL: undefined, DATABASE_URL: undefined },
  });
  t.after(async () => {
    for (const pid of descendantsOf(child.pid)) process.kill(pid, 'SIGKILL');
    await child.kill();
  });
  await child.waitForLine('Sluice is ready', { timeoutMs: 60_000 });
  const line = await child.waitForLine('the front door');
  return { child, words, pids: descendantsOf(child.pid), proxyUrl: line.trim().split(' ')[0] ?? '' };
}

function descendantsOf(pid: number): number[] {
  const all = processes().filter(({ state }) => state !== 'Z');
  const found = [pid];
  for (const each of found)
    found.push(...all.filter(({ parentPid }) => parentPid === each).map((entry) => entry.pid));
  return found.filter((each) => each !== pid);
}

test('make demo: each of the three backends answers, and Ctrl-C leaves nothing behind and exits 0', async (t) => {
  const { child, pids, proxyUrl } = await startDemo(t);
  assert.ok(pids.length >= 5, `three backends, a primary and workers: ${pids.length}`);
  const seen = new Set<string>();
  await waitFor('each of the three backends to answer', async () => {
    seen.add(((await (await fetch(proxyUrl)).json()) as { id: string }).id);
    return seen.size === 3;
  });
  assert.ok(child.stdout.some((line) => line.includes(`curl -v ${proxyUrl}`)));
  child.signal('SIGINT');
  child.signal('SIGINT');
  assert.deepEqual(await child.stop('SIGCONT', 20_000), { code: 0, signal: null });
  await waitFor('every part to be gone', () => !pids.some(isRunning));
});

test('make demo: when a part dies the others end, the exit code is 1, and the part is named', async (t) => {
  const { child, pids } = await startDemo(t);
  const backend = processes().find(
    ({ pid }) =>
      pids.includes(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('test_backs/echo.ts'),
  );
  assert.ok(backend);
  process.kill(backend.pid, 'SIGKILL');
  assert.deepEqual(await child.stop('SIGCONT', 20_000), { code: 1, signal: null });
  assert.match(child.stderr.join('\n'), /backend \d+ exited \(SIGKILL\)/);
  await waitFor('every part to be gone', () => !pids.some(isRunning));
});

test('make demo: ports in use are named in two lines with the remedy, and nothing is started', async (t) => {
  const { words, proxyUrl } = await startDemo(t);
  const second = spawnChild(process.execPath, ['scripts/demo.ts', ...words], { cwd: ROOT });
  t.after(() => second.kill());
  assert.deepEqual(await second.exited, { code: 1, signal: null });
  assert.equal(second.stderr.length, 2, second.describe());
  assert.match(
    second.stderr.join(' '),
    /127\.0\.0\.1:\d+, .*already\. Is another demo running\?.*BACKEND_PORTS/,
  );
  assert.deepEqual(second.stdout, []);
  assert.equal((await fetch(proxyUrl)).status, 200);
});
