/** Sluice, with all that it has against faults: probes, ejection, slow start, retries. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../../src/config/load.ts';
import { askJson } from '../../../test/cluster/support.ts';
import { freePort } from '../../../test/support/free-port.ts';
import { type SluiceConfig, startSluice, writeConfig } from '../../../test/support/sluice.ts';
import { makeTempFolder, removeTempFolder } from '../../../test/support/temp-folder.ts';
import { revision } from '../../rig/record.ts';
import type { Setup, Subject, SubjectKind } from './subject.ts';

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
  const sluice = await startSluice({
    ...{ entry, folder, data: 'absent', config: supported(folder, configOf(port, setup)) },
    ...(setup.openFiles === undefined ? {} : { openFiles: setup.openFiles }),
  });
  return {
    port,
    sluice,
    pids: () => sluice.child.groupPids(),
    workerPids: () => sluice.workerPids(),
    signal: (signal) => sluice.signal(signal),
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

const ms = (count: number) => `${count}ms`;

function configOf(port: number, setup: Setup): SluiceConfig {
  const { backends, ports = [], redisUrl, clientMs, workers, graceMs } = setup;
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
    timeouts: {
      drainGrace: ms(graceMs),
      ...(clientMs === undefined ? {} : { headers: ms(clientMs), bodyIdle: ms(clientMs) }),
    },
    log: { level: 'warn', access: { enabled: false } },
  };
}

function poolOf(setup: Setup, backends: Setup['backends']): object {
  const { answerMs, tryMs, probeMs, ejectionMs, slowStartMs, adaptive = false } = setup;
  return {
    backends: backends.map(({ port, weight }) => ({ url: `http://127.0.0.1:${port}`, weight })),
    healthCheck: { path: '/health', interval: ms(probeMs), timeout: ms(probeMs / 2), rise: 2, fall: 3 },
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
