/**
 * `make demo` and `make backends`: the three test backends and, for the demo, the balancer in front of them. Ctrl-C (or
 * SIGTERM) stops all of them; exit 0. When one of them dies, the others are stopped; exit 1.
 *
 *   node scripts/demo.ts [--backends-only] [--ports=8081,8082,8083] [--config=./config/local.yaml]
 *
 * The environment variables BACKEND_PORTS and CONFIG_PATH also set the ports of the backends and the configuration file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadConfig } from '../src/config/load.ts';
import { addressText } from '../src/contract/addresses.ts';
import type { ListenAddress } from '../src/contract/settings.ts';
import { busyAmong } from '../src/primary/workers/free-addresses.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** A part that has not stopped this long after the signal is killed. Longer than the balancer's drain. */
const STOP_MS = 35_000;
/** A second signal kills, unless it comes within this time: make and a shell may both forward the first one. */
const REPEAT_MS = 500;

const { values } = parseArgs({
  options: {
    'backends-only': { type: 'boolean', default: false },
    ports: { type: 'string', default: process.env.BACKEND_PORTS || '8081,8082,8083' },
    config: { type: 'string', default: process.env.CONFIG_PATH || './config/local.yaml' },
  },
});

interface Part {
  name: string;
  child: ChildProcess;
  exited: Promise<void>;
}

const parts: Part[] = [];
let stopping = false;
let exitCode = 0;

/** Each part has its own process group, so that it gets Ctrl-C once, from this program. */
function start(name: string, args: string[]): Part {
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      console.error(`${name}: ${error.message}`);
      resolve();
    });
    child.on('close', () => resolve());
  });
  child.on('exit', (code, signal) => {
    if (stopping) return;
    console.error(`${name} exited (${signal ?? `exit ${code}`}); stopping the rest`);
    exitCode = 1;
    void stopAll();
  });
  const part = { name, child, exited };
  parts.push(part);
  return part;
}

/** Passes each line of a part to `onLine` and resolves with the first one that `isReady` accepts; null: the part has exited. */
function follow(
  part: Part,
  isReady: (line: string) => boolean,
  onLine: (line: string) => void,
): Promise<string | null> {
  return new Promise((resolve) => {
    const stdout = part.child.stdout;
    if (stdout === null) return resolve(null);
    createInterface({ input: stdout }).on('line', (line) => {
      onLine(line);
      if (isReady(line)) resolve(line);
    });
    void part.exited.then(() => resolve(null));
  });
}

async function stopAll(): Promise<void> {
  if (stopping) return;
  stopping = true;
  // The balancer first, so that its last requests still reach the backends.
  for (const part of parts.toReversed()) await stopPart(part);
  process.exit(exitCode);
}

async function stopPart({ child, exited }: Part): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const timer = setTimeout(() => killGroup(child), STOP_MS);
  child.kill('SIGTERM');
  await exited;
  clearTimeout(timer);
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Those ports of the backends, and of the balancer if it will be started, that are already in use. */
async function busyPorts(): Promise<string[]> {
  const addresses: ListenAddress[] = values.ports
    .split(',')
    .map((port) => ({ kind: 'tcp', host: '127.0.0.1', port: Number(port) }));
  if (!values['backends-only']) {
    const loaded = loadConfig(values.config, process.env);
    // The balancer itself reports what is wrong with the file.
    if ('settings' in loaded)
      addresses.push(...loaded.settings.listen, { kind: 'tcp', ...loaded.settings.admin });
  }
  return (await busyAmong(addresses)).map(addressText);
}

async function startBackends(): Promise<boolean> {
  const started = values.ports.split(',').map((port) => {
    const part = start(`backend ${port}`, ['test_backs/echo.ts', `--port=${port}`]);
    return follow(
      part,
      (line) => line.startsWith('listening on'),
      (line) => console.log(`backend ${port} ${line}`),
    );
  });
  return (await Promise.all(started)).every((line) => line !== null);
}

interface ReadyLine {
  addresses: string[];
  admin: string;
  workers: number;
}

function parseReady(line: string): ReadyLine | null {
  if (!line.startsWith('{"msg":"ready"')) return null;
  return JSON.parse(line) as ReadyLine;
}

function describe({ addresses, admin, workers }: ReadyLine): string {
  const [proxy = ''] = addresses;
  return `
Sluice is ready: ${workers} workers over ${values.ports.split(',').length} backends. Ctrl-C stops everything.

  ${proxy}/                      the front door
  ${admin}/                      the dashboard
  ${admin}/api/v1/pools          what it knows about the backends (also …/clients, …/workers, /metrics, /openapi.json)

  curl -v ${proxy}/
  for i in 1 2 3 4 5 6; do curl -s ${proxy}/ && echo; done
  curl -v -H "X-Forwarded-For: 203.0.113.7" ${proxy}/
  bin/sluice top --admin ${admin}
`;
}

let firstSignalMs = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (!stopping) {
      firstSignalMs = performance.now();
      void stopAll();
    } else if (performance.now() - firstSignalMs > REPEAT_MS) {
      for (const { child } of parts) killGroup(child);
    }
  });
}

const busy = await busyPorts();
if (busy.length > 0) {
  console.error(
    `Something listens on ${busy.join(', ')} already. Is another demo running? Stop it first, or`,
  );
  console.error(
    'choose other ports: BACKEND_PORTS for the backends, a file in CONFIG_PATH for the balancer.',
  );
  process.exit(1);
}
if ((await startBackends()) && !values['backends-only'] && !stopping) {
  const balancer = start('balancer', ['src/cli.ts', 'serve', '--config', values.config]);
  const line = await follow(
    balancer,
    (text) => parseReady(text) !== null,
    (text) => {
      if (parseReady(text) === null) console.log(text);
    },
  );
  const ready = line === null ? null : parseReady(line);
  if (ready !== null) console.log(describe(ready));
}
