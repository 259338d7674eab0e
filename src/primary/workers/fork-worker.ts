/** Forks a worker process. Those of V8's options that may be set later are in the worker's heap.ts. */
import type { ChildProcess } from 'node:child_process';
import cluster from 'node:cluster';
import { WORKER_PLACE, type WorkerPlace } from '../../contract/messages.ts';
import { entryFile } from '../../infra/product-files.ts';
import { PROTOCOL_VERSION } from '../../infra/protocol-version.ts';

/** What the fork of every worker needs; given to the supervisor. */
export interface ForkOptions extends Pick<WorkerPlace, 'dataPath'> {
  /** How many workers are wanted; asked at each fork. */
  workerCount: () => number;
  /** As in WorkerPlace; default null. */
  orphanFolder?: string;
  /** What the environment of workers must not tell, asked at each fork: secretsOf the settings in force. Default nothing. */
  secrets?: () => readonly string[];
  /** Asked at each fork. */
  log: () => WorkerPlace['log'];
  /** Absolute path of the worker's entry file; default that of the product. */
  exec?: string;
  /** Node's own arguments for workers; default workerArguments(). */
  execArgv?: string[];
  /** What the worker of a slot inherits, asked at each fork: ListenSockets.inheritedBy. Default nothing. */
  inheritedBy?: (index: number) => { fds: number[] } & Pick<WorkerPlace, 'listenFds'>;
}

/**
 * MiB of each half of the young generation; V8 would take 16 and more. No object outlives its request, so that it may be small: a
 * worker takes some 30 MiB less, at the same CPU time per request (39.3 and 41.0 µs, alternately in 24 rounds).
 */
const SEMI_SPACE_MIB = 8;
const SEMI_SPACE_FLAG = '--max-semi-space-size';
/** Without it SIGUSR1 opens node's debugger, by which any user of the machine can run code in a worker. */
const NO_DEBUGGER_FLAG = '--disable-sigusr1';

/**
 * How many arenas glibc's malloc may have; by itself it makes one for each of V8's four background threads, and keeps there what compiling
 * has freed. A worker rests at 97 MiB instead of 102 after load, at the same CPU time per request. Other C libraries know no such variable.
 */
const MALLOC_ARENAS = '2';

/** Variables of the primary alone: a worker is told what it needs. undefined leaves one out. */
const WITHHELD = {
  DATABASE_URL: undefined,
  SLUICE_KEY_SECRET: undefined,
  PGPASSWORD: undefined,
  NOTIFY_SOCKET: undefined,
  WATCHDOG_PID: undefined,
  WATCHDOG_USEC: undefined,
};
/** A shorter value would be found in many a secret by chance. */
const MIN_SECRET_CHARS = 4;
/** What a process is run with: node, its TLS, the loader. Paths in it may be in the URL of a database, too. */
const OF_THE_RUNTIME = /^(NODE|SSL|OPENSSL|LD)_/;

/** forkWorker starts a process for a slot; throws where the system refuses. WorkerLink listens to errors of the process. */
export function forkWorker(index: number, options: ForkOptions, replacement: boolean): ChildProcess {
  const {
    exec = entryFile('worker/main'),
    execArgv = workerArguments(),
    workerCount,
    dataPath,
    secrets = () => [],
    log,
    orphanFolder = null,
    inheritedBy,
  } = options;
  const { fds, listenFds } = inheritedBy?.(index) ?? { fds: [], listenFds: {} };
  cluster.setupPrimary({ exec, execArgv, args: [], stdio: ['inherit', 'inherit', 'inherit', 'ipc', ...fds] });
  const given = { protocol: PROTOCOL_VERSION, replacement, dataPath, log: log(), listenFds };
  const place: WorkerPlace = { workerCount: workerCount(), workerIndex: index, orphanFolder, ...given };
  const worker = cluster.fork({
    ...WITHHELD,
    MALLOC_ARENA_MAX: process.env.MALLOC_ARENA_MAX ?? MALLOC_ARENAS,
    ...variablesIn(secrets()),
    [WORKER_PLACE]: JSON.stringify(place),
  });
  // The cluster repeats the errors of the process. Without a listener they would end the primary.
  worker.on('error', () => undefined);
  return worker.process;
}

/** Variables that are a secret or a part of one, each undefined. */
function variablesIn(secrets: readonly string[]): Record<string, undefined> {
  const names = Object.entries(process.env).flatMap(([name, value = '']) =>
    value.length >= MIN_SECRET_CHARS &&
    !OF_THE_RUNTIME.test(name) &&
    secrets.some((secret) => secret.includes(value))
      ? name
      : [],
  );
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

/**
 * workerArguments are node's own arguments for workers: those of this process, no debugger by a signal, and a young generation of
 * a bounded size unless somebody has chosen one.
 *
 * @param own default those of this process
 * @param nodeOptions the environment's NODE_OPTIONS, which workers inherit
 */
export function workerArguments(
  own: readonly string[] = process.execArgv,
  nodeOptions: string = process.env.NODE_OPTIONS ?? '',
): string[] {
  const chosen = [...own, nodeOptions].some((text) => text.replaceAll('_', '-').includes('semi-space-size'));
  return [...own, NO_DEBUGGER_FLAG, ...(chosen ? [] : [`${SEMI_SPACE_FLAG}=${SEMI_SPACE_MIB}`])];
}
