/** Sluice, with all that it has against faults: probes, ejection, slow start, retries. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../../src/config/load.ts';
import { askJson, workersOf } from '../../../test/cluster/support.ts';
import { freePort } from '../../../test/support/free-port.ts';
import {
  type SluiceConfig,
  type SluiceProcess,
  startSluice,
  writeConfig,
} from '../../../test/support/sluice.ts';
import { makeTempFolder, removeTempFolder } from '../../../test/support/temp-folder.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { revision } from '../../rig/record.ts';
import { launchServer, othersOf, primaryOf } from './launched.ts';
import type { Setup, Subject, SubjectKind } from './subject.ts';

const ROLL_MS = 60_000;
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** sluiceFrom runs it from an entry file: dist/cli.js, or src/cli.ts where nothing is built. */
export function sluiceFrom(entry: 'dist/cli.js' | 'src/cli.ts'): SubjectKind {
  return {
    name: 'sluice',
    missing: () => (existsSync(`${ROOT}${entry}`) ? '' : `${entry} is missing (make build)`),
    version: () => revision().commit.slice(0, 10),
    start: (setup) => start(entry, setup),
  };
}

async function start(entry: string, setup: Setup): Promise<Subject> {
  const folder = makeTempFolder('sluice-chaos-');
  const port = await freePort();
  if (setup.supervised === true) return supervised(entry, folder, port, setup);
  if (setup.systemd === true) return underSystemd(entry, folder, port, setup);
  const sluice = await startSluice({
    ...{ entry, folder, config: supported(folder, configOf(port, setup)) },
    ...(setup.openFiles === undefined ? {} : { openFiles: setup.openFiles }),
  });
  return {
    port,
    sluice,
    pids: () => sluice.child.groupPids(),
    workerPids: () => sluice.workerPids(),
    primaryPid: () => sluice.pid,
    roll: () => roll(sluice),
    async reload(next) {
      sluice.configure(supported(folder, configOf(port, next)));
      const { status, body } = await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
      if (status !== 200) throw new Error(`reload: ${status} ${JSON.stringify(body)}`);
    },
    async stop() {
      const { code } = await sluice.stop('SIGTERM', 15_000);
      removeTempFolder(folder);
      return code;
    },
  };
}

async function supervised(entry: string, folder: string, port: number, setup: Setup): Promise<Subject> {
  const config = writeConfig(folder, supported(folder, configOf(port, setup)));
  const child = launchServer(
    process.execPath,
    [`${ROOT}${entry}`, 'serve', '--config', config],
    folder,
    setup,
  );
  await child.waitForLine('"msg":"ready"', { timeoutMs: 30_000 });
  const cannot = () => Promise.reject(new Error('a supervised Sluice is not managed'));
  return {
    ...{ port, sluice: null, reload: cannot, roll: cannot },
    pids: () => child.groupPids(),
    workerPids: () => othersOf(child, setup),
    primaryPid: () => primaryOf(child, setup),
    async stop() {
      const { code } = await child.kill();
      removeTempFolder(folder);
      return code;
    },
  };
}

/** A program in the place of systemd-notify writes down what systemd would be told. */
async function underSystemd(entry: string, folder: string, port: number, setup: Setup): Promise<Subject> {
  const said = join(folder, 'said');
  const program = `#!/bin/sh\nprintf '%s|' "$@" >> ${said}\necho >> ${said}\n`;
  writeFileSync(said, '');
  writeFileSync(join(folder, 'systemd-notify'), program, { mode: 0o755 });
  const config = { ...configOf(port, setup), admin: { address: `127.0.0.1:${await freePort()}` } };
  const env = { PATH: `${folder}:${process.env.PATH}`, NOTIFY_SOCKET: '/run/none' };
  const { child } = await startSluice({
    entry,
    folder,
    config: supported(folder, config),
    env,
  });
  const cannot = () => Promise.reject(new Error('this Sluice is told by signals alone'));
  const primaryPid = () => Number(/.*MAINPID=(\d+)/s.exec(readFileSync(said, 'utf8'))?.[1] ?? child.pid);
  return {
    ...{ port, sluice: null, reload: cannot, roll: cannot, primaryPid },
    pids: () => child.groupPids(),
    workerPids: () => child.groupPids().filter((pid) => pid !== primaryPid()),
    async replacePrimary() {
      const old = child.groupPids();
      process.kill(primaryPid(), 'SIGUSR2');
      const isDone = () => !child.groupPids().some((pid) => old.includes(pid));
      await waitFor('the old processes to be gone', isDone, { timeoutMs: ROLL_MS });
    },
    async stop() {
      const { code } = await child.kill();
      removeTempFolder(folder);
      return code;
    },
  };
}

/** Resolves once every worker is another process than before, and serves. */
async function roll({ adminUrl }: SluiceProcess): Promise<void> {
  const before = new Set((await workersOf(adminUrl)).map(({ pid }) => pid));
  const { status, body } = await askJson(`${adminUrl}/api/v1/workers/restart`, { method: 'POST' });
  if (status >= 300) throw new Error(`restart of the workers: ${status} ${JSON.stringify(body)}`);
  await waitFor(
    'every worker to be another one',
    async () => {
      const workers = await workersOf(adminUrl);
      const fresh = workers.every(({ pid, state }) => !before.has(pid) && state === 'serving');
      return fresh && workers.length === before.size;
    },
    { timeoutMs: ROLL_MS },
  );
}

const ms = (count: number) => `${count}ms`;

function configOf(port: number, setup: Setup): SluiceConfig {
  const { backends, ports = [], redisUrl, workers, graceMs } = setup;
  return {
    listen: [port, ...ports].map((each) => ({ address: `127.0.0.1:${each}` })),
    workers,
    trustedProxies: ['127.0.0.0/8'],
    pools: { app: poolOf(setup, backends) },
    ...(redisUrl === undefined
      ? {}
      : {
          redis: { url: redisUrl },
          rateLimit: { policies: { default: { capacity: 1_000, refillPerSecond: 1_000 } } },
        }),
    primary: { graceWithout: '30s' },
    timeouts: { drainGrace: ms(graceMs) },
    log: { level: 'warn', access: { enabled: false } },
  };
}

function poolOf(setup: Setup, backends: Setup['backends']): object {
  const { answerMs, tryMs, probeMs, ejectionMs, slowStartMs, adaptive = false, probes = true } = setup;
  const healthCheck = { path: '/health', interval: ms(probeMs), timeout: ms(probeMs / 2), rise: 2, fall: 3 };
  return {
    backends: backends.map(({ port, weight }) => ({ url: `http://127.0.0.1:${port}`, weight })),
    ...(probes ? { healthCheck } : {}),
    timeouts: { connect: ms(answerMs), response: ms(answerMs) },
    outlier: { consecutiveErrors: 5, baseEjection: ms(ejectionMs), maxEjectedPercent: 50 },
    slowStart: ms(slowStartMs),
    retry: { attempts: 2, perTry: ms(tryMs), onStatus: [500, 502, 503, 504] },
    ...(adaptive ? { adaptive: 'latency' } : {}),
  };
}

/** supported leaves out what this version does not know yet, so that the suite measures every version by the same faults. */
function supported(folder: string, config: SluiceConfig): SluiceConfig {
  const loaded = loadConfig(writeConfig(folder, config), {});
  if ('settings' in loaded) return config;
  const left = structuredClone(config);
  for (const { path, message } of loaded.problems) {
    if (!message.includes('not supported in this version')) throw new Error(`${path}: ${message}`);
    const keys = (path ?? '').split('.');
    const last = keys.pop() ?? '';
    const parent = keys.reduce((node, key) => node[key] as Record<string, unknown>, left);
    delete parent[last];
  }
  return left;
}
