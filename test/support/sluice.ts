/** The whole product as a child process: `serve` with a generated configuration in a throw-away working folder. */
import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { type Child, type ExitStatus, spawnChild } from './child.ts';
import { copyMadeDatabase } from './made-database.ts';
import { CLI } from './product.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';

export interface ReadyLine {
  msg: 'ready';
  addresses: string[];
  admin: string;
  workers: number;
}

/** The configuration file as an object. Absent `listen`, `admin`, `workers` and `database` get values for tests. */
export type SluiceConfig = Record<string, unknown>;

export interface SluiceOptions {
  /** An object (completed, see SluiceConfig) or the text of the file (used as it is). */
  config: SluiceConfig | string;
  /**
   * Added to the test's environment, from which REDIS_URL, DATABASE_URL, CONFIG_PATH and SLUICE_* are removed, except those
   * that choose the data path (`make test-node` sets them).
   */
  env?: Record<string, string>;
  /** Working folder; default: a new one, which stop() removes. Give one to start twice in the same folder. */
  folder?: string;
  /**
   * `made`: the embedded database exists already and is opened, which costs a second of CPU time. Default: the first call for
   * clients makes it.
   */
  data?: 'made';
  /** Entry file; default: CLI of product.ts. */
  entry?: string;
  /** Limit of open files, soft and hard; default: that of the test. */
  openFiles?: number;
  /** A file or FIFO for standard output and error, which are then not collected. */
  output?: string;
  /** How long to wait for the ready line; default: 30 s. */
  timeoutMs?: number;
}

export interface SluiceProcess {
  /** pid of the primary, which leads a process group with the workers. */
  readonly pid: number;
  readonly ready: ReadyLine;
  /** The first listen address, for example http://127.0.0.1:41234. */
  readonly proxyUrl: string;
  readonly adminUrl: string;
  readonly folder: string;
  readonly configPath: string;
  /** Lines so far. */
  readonly stdout: string[];
  readonly stderr: string[];
  readonly child: Child;
  /** jsonLines returns the lines of standard output that are JSON objects and pass the filter. */
  jsonLines(filter?: (entry: Record<string, unknown>) => boolean): Record<string, unknown>[];
  /** workerPids returns the running processes of the group without the primary. */
  workerPids(): number[];
  /** configure writes a new configuration (completed in the same way) to the file. SIGHUP or the reload call applies it. */
  configure(config: SluiceConfig | string): void;
  signal(signal: NodeJS.Signals): void;
  /**
   * stop sends the signal, waits for the exit, and returns how the product ended. When processes are left, it kills them and
   * rejects. After an exit it only cleans up.
   */
  stop(signal?: NodeJS.Signals, timeoutMs?: number): Promise<ExitStatus>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DATA_PATH_ENV = ['SLUICE_WIRE', 'SLUICE_UNTESTED_WIRE', 'SLUICE_ENGINE'];

/** startSluice starts the product and waits for the ready line; put `t.after(() => sluice.stop())` on the next line. */
export async function startSluice(options: SluiceOptions): Promise<SluiceProcess> {
  const folder = options.folder ?? makeTempFolder('sluice-run-');
  if (wantsMadeDatabase(folder, options)) await copyMadeDatabase(folder);
  const child = spawnSluice(['serve', '--config', writeConfig(folder, options.config)], {
    ...options,
    folder,
  });
  const cleanUp = () => {
    if (options.folder === undefined) removeTempFolder(folder);
  };
  try {
    const line = await child.waitForLine((text) => parseObject(text)?.msg === 'ready', {
      timeoutMs: options.timeoutMs ?? 60_000,
    });
    return processOf(child, JSON.parse(line) as ReadyLine, { folder, cleanUp });
  } catch (error) {
    await child.kill();
    cleanUp();
    throw error;
  }
}

function wantsMadeDatabase(folder: string, { config, env, data }: SluiceOptions): boolean {
  const embedded = typeof config === 'object' && config.database === undefined && !env?.DATABASE_URL;
  return embedded && data === 'made' && !existsSync(join(folder, 'data'));
}

/** spawnSluice runs the command line with any arguments, for tests of exits and messages. The caller stops the child. */
export function spawnSluice(
  words: string[],
  options: Pick<SluiceOptions, 'env' | 'folder' | 'entry' | 'openFiles' | 'output'> = {},
): Child {
  const { env = {}, folder, entry = CLI, openFiles, output } = options;
  const removed = Object.keys(process.env).filter(
    (name) =>
      (name.startsWith('SLUICE_') && !DATA_PATH_ENV.includes(name)) ||
      ['REDIS_URL', 'DATABASE_URL', 'CONFIG_PATH', 'NODE_OPTIONS'].includes(name),
  );
  const line = [process.execPath, resolve(ROOT, entry), ...words];
  const before = [
    ...(openFiles === undefined ? [] : [`ulimit -n ${openFiles}`]),
    ...(output === undefined ? [] : [`exec > '${output}' 2>&1`]),
  ];
  const shell = ['/bin/sh', '-c', [...before, 'exec "$0" "$@"'].join(' && ')];
  const [command = '', ...args] = before.length === 0 ? line : [...shell, ...line];
  return spawnChild(command, args, {
    cwd: folder ?? ROOT,
    env: {
      ...Object.fromEntries(removed.map((name) => [name, undefined])),
      ...env,
    },
  });
}

/** completeConfig adds defaults for tests: free loopback ports, one worker, JSON logs. */
export function completeConfig(config: SluiceConfig): SluiceConfig {
  return {
    listen: [{ address: '127.0.0.1:0' }],
    admin: { address: '127.0.0.1:0' },
    workers: 1,
    ...config,
    timeouts: { drainGrace: '0s', drain: '3s', ...(config.timeouts as object | undefined) },
  };
}

/** writeConfig writes a configuration file into the folder and returns its path. */
export function writeConfig(folder: string, config: SluiceConfig | string): string {
  const path = join(folder, 'sluice.yaml');
  writeFileSync(path, typeof config === 'string' ? config : stringify(completeConfig(config)));
  return path;
}

function processOf(
  child: Child,
  ready: ReadyLine,
  { folder, cleanUp }: { folder: string; cleanUp: () => void },
): SluiceProcess {
  return {
    pid: child.pid,
    ready,
    proxyUrl: ready.addresses[0] ?? '',
    adminUrl: ready.admin,
    folder,
    configPath: join(folder, 'sluice.yaml'),
    stdout: child.stdout,
    stderr: child.stderr,
    child,
    jsonLines: (filter = () => true) => objectsOf(child.stdout).filter(filter),
    workerPids: () => child.groupPids().filter((pid) => pid !== child.pid),
    configure: (config) => {
      writeConfig(folder, config);
    },
    signal: (signal) => child.signal(signal),
    async stop(signal = 'SIGTERM', timeoutMs = 20_000) {
      try {
        return await child.stop(signal, timeoutMs);
      } finally {
        cleanUp();
      }
    },
  };
}

function objectsOf(lines: string[]): Record<string, unknown>[] {
  return lines.map(parseObject).filter((entry) => entry !== null);
}

function parseObject(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) return null;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
