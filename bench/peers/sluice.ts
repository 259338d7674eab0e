/** Sluice itself, with the default configuration except for what a scenario turns off. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type SluiceConfig, writeConfig } from '../../test/support/sluice.ts';
import { waitFor } from '../../test/support/wait.ts';
import { type CertificateFiles, makeCertificate } from '../rig/certificate.ts';
import { launch, outputOf, type ServerProcess, serverOf, untilServes } from '../rig/process.ts';
import { commandLine } from '../rig/record.ts';
import { type Peer, type PeerOptions, REFUSED_PATH } from './peer.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
const BUILT_CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
/** `make bench-peers BEFORE=COMMIT` puts it there. */
const BEFORE_CLI = fileURLToPath(new URL('../../.tmp/before/src/cli.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Variant {
  name: string;
  cli?: string;
  /** What has to be installed for `cli` to exist. */
  needs?: string;
  /** Variables added to the environment of the bench. */
  env?: Record<string, string>;
}

function variant({ name, cli = CLI, needs = '', env = {} }: Variant): Peer {
  return {
    name,
    can: { workers: true, accessLog: true, limiter: true },
    missing: () => (existsSync(cli) ? '' : `${needs} is not installed`),
    version: () => `node ${process.versions.node}`,
    start: (folder, options) => {
      const certificate = options.tls ? makeCertificate(folder) : null;
      return startSluiceServer(folder, configOf(options, certificate), { cli, env });
    },
  };
}

export const sluice = variant({ name: 'sluice' });
/** Two variants that use only node's documented API: with our own HTTP/1.1, and with node's. */
export const sluiceSocket = variant({ name: 'sluice-socket', env: { SLUICE_WIRE: 'socket' } });
export const sluiceNode = variant({
  name: 'sluice-node',
  env: { SLUICE_WIRE: 'socket', SLUICE_ENGINE: 'node' },
});
export const sluiceBuilt = variant({
  name: 'sluice-built',
  cli: BUILT_CLI,
  needs: 'dist/cli.js (make build)',
});
/** An earlier version, to see in the same run what a change costs. */
export const sluiceBefore = variant({
  name: 'sluice-before',
  cli: BEFORE_CLI,
  needs: 'an earlier version (BEFORE=COMMIT)',
});

const POLICIES = {
  // Never refuses, because the bench measures the cost of taking tokens.
  default: { capacity: 1_000_000_000, refillPerSecond: 1_000_000 },
  refusing: { capacity: 1, refillPerSecond: 1 },
};

/** configOf makes the content of a configuration file from the options. */
export function configOf(
  { backendPorts, workers, accessLog, redisPort, grpc }: PeerOptions,
  certificate: CertificateFiles | null = null,
): SluiceConfig {
  const pool = 'app';
  const bench = { name: 'bench', match: { path: '/' }, pool };
  const refusing = {
    name: 'refusing',
    match: { path: REFUSED_PATH },
    pool,
    rateLimit: { policy: 'refusing' },
  };
  const limited = {
    routes: [refusing, { ...bench, rateLimit: { policy: 'default' } }],
    rateLimit: { policies: POLICIES },
    redis: { url: `redis://127.0.0.1:${redisPort}`, timeout: '100ms' },
  };
  return {
    workers,
    trustedProxies: ['127.0.0.0/8'],
    ...(certificate === null ? {} : { listen: [{ address: '127.0.0.1:0', tls: tlsOf(certificate) }] }),
    pools: {
      [pool]: {
        backends: backendPorts.map((port) => ({ url: `http://127.0.0.1:${port}` })),
        ...(grpc ? { protocol: 'h2' } : {}),
      },
    },
    ...(redisPort === null ? { routes: [{ ...bench, rateLimit: 'off' }] } : limited),
    // Large enough for the endless uploads and for 10,000 connections.
    limits: { bodyBytes: '64GiB', connections: 0 },
    log: { level: 'warn', access: { enabled: accessLog } },
  };
}

function tlsOf({ cert, key }: CertificateFiles): object {
  return { certificates: [{ cert, key }], minVersion: 'TLSv1.3' };
}

/** startSluiceServer runs `serve` with a configuration (completed as for tests) and waits for the ready line. */
export async function startSluiceServer(
  folder: string,
  config: SluiceConfig,
  { cli = CLI, env: given = {} }: Omit<Variant, 'name' | 'needs'> = {},
): Promise<ServerProcess> {
  const args = [cli, 'serve', '--config', writeConfig(folder, config)];
  const unset = [
    ...['REDIS_URL', 'DATABASE_URL', 'CONFIG_PATH', 'NODE_OPTIONS'],
    ...['SLUICE_WIRE', 'SLUICE_ENGINE'],
  ];
  const env = { ...Object.fromEntries(unset.map((name) => [name, undefined])), ...given };
  const child = launch({ name: 'sluice', folder, command: process.execPath, args, env });
  const line = await waitFor(
    'sluice to be ready',
    () =>
      child.exitStatus !== null
        ? 'exited'
        : outputOf(folder, 'sluice', 'stdout')
            .split('\n')
            .find((text) => text.includes('"msg":"ready"') && text.endsWith('}')),
    { timeoutMs: 30_000, everyMs: 25 },
  );
  if (line === 'exited') throw new Error(`sluice exited\n${outputOf(folder, 'sluice', 'stderr')}`);
  const { addresses } = JSON.parse(line) as { addresses: string[] };
  const { port: portText, protocol } = new URL(addresses[0] ?? '');
  const port = Number(portText);
  const facts = {
    name: 'sluice',
    folder,
    port,
    command: commandLine(process.execPath, args, { ROOT, folder }),
    tls: protocol === 'https:',
  };
  await untilServes(child, facts, '/tiny');
  return serverOf(child, facts);
}
