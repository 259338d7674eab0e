import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask, metricOf, poolOf, startNamed } from '../cluster/support.ts';
import type { Child } from '../support/child.ts';
import { freePort } from '../support/free-port.ts';
import { startLoad } from '../support/load.ts';
import { spawnSluice, writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const MIB = 1024 * 1024;
const ACCESS = 'sluice_access_log_dropped_lines_total';
const APPLICATION = 'sluice_application_log_dropped_lines_total';

interface Started {
  child: Child;
  folder: string;
  config: Record<string, unknown>;
  proxyUrl: string;
  adminUrl: string;
}

/** Starts the product with an output that nobody reads, so the ready line cannot be waited for. */
async function start(t: TestContext, output?: string): Promise<Started> {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const [proxyPort, adminPort] = [await freePort(), await freePort()];
  const config = {
    listen: [{ address: `127.0.0.1:${proxyPort}` }],
    admin: { address: `127.0.0.1:${adminPort}` },
    pools: poolOf([backend]),
    log: { level: 'debug' },
  };
  const words = ['serve', '--config', writeConfig(folder, config)];
  const child = spawnSluice(words, { folder, ...(output !== undefined && { output }) });
  t.after(() => child.kill());
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  await waitFor('Sluice to be ready', async () => (await ask(`${adminUrl}/readyz`)).status === 200);
  return { child, folder, config, proxyUrl: `http://127.0.0.1:${proxyPort}`, adminUrl };
}

/** Causes more lines of every kind than any buffer holds, while all requests must be answered. */
async function flood(t: TestContext, { child, folder, config, proxyUrl, adminUrl }: Started): Promise<void> {
  const [workerPid] = child.groupPids().filter((pid) => pid !== child.pid);
  assert.ok(workerPid !== undefined);
  const primaryBytes = residentBytes(child.pid);
  // Access lines of nearly 4,000 bytes; a worker keeps about 1,000 of them.
  const load = startLoad({ url: `${proxyUrl}/${'a'.repeat(5_000)}`, connections: 4, pauseMs: 5 });
  t.after(() => load.stop());
  // Each refused reload logs a line of the full length, 4,000 bytes, in the primary, which keeps about 250 of them.
  writeConfig(folder, { ...config, trustedProxies: Array.from({ length: 50 }, (_, i) => `wrong ${i}`) });
  const lost = async (name: string): Promise<boolean> => ((await metricOf(adminUrl, name)) ?? 0) > 0;
  const deadline = { timeoutMs: 40_000 };
  await waitFor(
    'lines of both kinds to be lost',
    async () => {
      // A worker logs a debug line for each of these signals.
      process.kill(workerPid, 'SIGHUP');
      for (let i = 0; i < 20; i++)
        assert.equal((await ask(`${adminUrl}/api/v1/reload`, { method: 'POST' })).status, 422);
      assert.equal((await ask(`${adminUrl}/livez`)).status, 200);
      return (await lost(ACCESS)) && (await lost(APPLICATION));
    },
    deadline,
  );
  const before = load.result.total;
  await waitFor('requests to be answered all the same', () => load.result.total > before + 100, deadline);
  const { statuses, failures } = await load.stop();
  assert.deepEqual(Object.keys(statuses), ['200']);
  assert.deepEqual(failures, {});
  assert.equal(child.exitStatus, null, child.describe());
  // The primary also contains the embedded database.
  const grownMiB = (residentBytes(child.pid) - primaryBytes) / MIB;
  const workerMiB = residentBytes(workerPid) / MIB;
  assert.ok(workerMiB < 200 && grownMiB < 300, `worker: ${workerMiB} MiB, primary: ${grownMiB} MiB more`);
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
}

interface Fifo {
  path: string;
  readFd: number;
}

function makeFifo(t: TestContext): Fifo {
  const folder = tempFolder(t);
  const path = join(folder, 'output');
  execFileSync('mkfifo', [path]);
  return { path, readFd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) };
}

function readLines(t: TestContext, fd: number): string[] {
  const reader = new Socket({ fd, readable: true, writable: false });
  t.after(() => reader.destroy());
  const lines: string[] = [];
  let rest = '';
  reader.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  return lines;
}

/** The sum of the reported lost lines. */
function toldLost(lines: readonly string[], kind: string): number {
  return lines
    .filter((line) => line.endsWith(' log lines dropped"}') && line.includes(`"kind":"${kind}"`))
    .reduce((sum, line) => sum + Number(JSON.parse(line).lines), 0);
}

test('with an unread output all requests are served; read again, it reports how many lines were lost', async (t) => {
  const { path, readFd } = makeFifo(t);
  const sluice = await start(t, path);
  await flood(t, sluice);
  const lines = readLines(t, readFd);
  await waitFor('the lost lines to be reported', async () => {
    const [access, application] = [toldLost(lines, 'access'), toldLost(lines, 'application')];
    return (
      access === (await metricOf(sluice.adminUrl, ACCESS)) &&
      application === (await metricOf(sluice.adminUrl, APPLICATION))
    );
  });
  writeConfig(sluice.folder, sluice.config);
  assert.equal((await ask(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  await waitFor('lines to flow again', () => lines.some((line) => line.includes('"msg":"reloaded"')));
  assert.ok(lines.some((line) => line.startsWith('{"msg":"ready"')));
  assert.deepEqual(await sluice.child.stop(), { code: 0, signal: null });
});

test('a pipe without a reader stops nothing', async (t) => {
  const { path, readFd } = makeFifo(t);
  const sluice = await start(t, path);
  closeSync(readFd);
  await flood(t, sluice);
  assert.deepEqual(await sluice.child.stop(), { code: 0, signal: null });
});

test('a full disk stops nothing', async (t) => {
  const sluice = await start(t, '/dev/full');
  await flood(t, sluice);
  assert.deepEqual(await sluice.child.stop(), { code: 0, signal: null });
});

test('an unread socket stops nothing, not even the exit', async (t) => {
  const sluice = await start(t);
  sluice.child.stall(true);
  await flood(t, sluice);
  sluice.child.signal('SIGTERM');
  await waitFor('every process to be gone', () => sluice.child.groupPids().length === 0);
  sluice.child.stall(false);
  assert.deepEqual(await sluice.child.exited, { code: 0, signal: null });
});
