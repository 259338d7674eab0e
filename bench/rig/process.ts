/** The servers of a bench as child processes. Their output goes to files, so that the bench spends no time reading it. */
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { get as getOverTls } from 'node:https';
import { join } from 'node:path';
import { type Child, spawnChild } from '../../test/support/child.ts';
import { waitFor } from '../../test/support/wait.ts';

export interface ServerProcess {
  readonly name: string;
  readonly port: number;
  /** The command line, without paths of this machine. */
  readonly command: string;
  /** pids returns all processes of the server. */
  pids(): number[];
  /** workerPids leaves out the first process if there are others, because it only manages them. */
  workerPids(): number[];
  /** Its working folder, with its configuration and its certificate. */
  readonly folder: string;
  /** signal reaches the first process, which manages the others. */
  signal(signal: NodeJS.Signals): void;
  /** output returns what it has written to standard output and standard error. */
  output(): string;
  stop(): Promise<void>;
}

export interface Launch {
  name: string;
  command: string;
  args: string[];
  /** Working folder. The output goes to files in it. */
  folder: string;
  env?: Record<string, string | undefined>;
}

/** launch starts a program in its own process group, whose leader is `pid`. The caller waits until it serves. */
export function launch({ name, command, args, folder, env }: Launch): Child {
  // `exec` replaces the shell by the program, so that pid and group belong to the program.
  // As many open files as this user may have: a tunnel needs two sockets.
  const redirect = `ulimit -n "$(ulimit -Hn)"; exec "$0" "$@" >'${name}.stdout' 2>'${name}.stderr'`;
  return spawnChild('/bin/sh', ['-c', redirect, command, ...args], { cwd: folder, env });
}

/** outputOf reads a file to which `launch` redirected output. */
export function outputOf(folder: string, name: string, stream: 'stdout' | 'stderr'): string {
  try {
    return readFileSync(join(folder, `${name}.${stream}`), 'utf8');
  } catch {
    return ''; // not started yet, or already removed
  }
}

/** serverOf wraps a started child. */
export function serverOf(child: Child, { name, folder, port, command }: ServerFacts): ServerProcess {
  return {
    name,
    port,
    command,
    folder,
    signal: (signal) => child.signal(signal),
    pids: () => child.groupPids(),
    workerPids: () => {
      const others = child.groupPids().filter((pid) => pid !== child.pid);
      return others.length > 0 ? others : [child.pid];
    },
    output: () => outputOf(folder, name, 'stdout') + outputOf(folder, name, 'stderr'),
    async stop() {
      // Killed after 5 s: a bench has nothing to save.
      await child.stop('SIGTERM', 5_000).catch(() => child.kill());
    },
  };
}

export interface ServerFacts {
  name: string;
  folder: string;
  port: number;
  command: string;
  tls?: boolean;
}

/** untilServes waits for a 200 from `path`. The error of a server that never gives one shows its output. */
export async function untilServes(
  child: Child,
  { name, folder, port, tls }: ServerFacts,
  path: string,
): Promise<void> {
  try {
    await waitFor(
      `${name} to answer ${path} with 200`,
      async () => {
        if (child.exitStatus !== null) return 'exited';
        return (await statusOf(port, path, tls)) === 200 ? 'serves' : null;
      },
      { timeoutMs: 20_000, everyMs: 25 },
    );
    if (child.exitStatus !== null) throw new Error(`${name} exited`);
  } catch (error) {
    await child.kill();
    const output = outputOf(folder, name, 'stdout') + outputOf(folder, name, 'stderr');
    throw new Error(`${(error as Error).message}\n${output.slice(-2_000)}`, { cause: error });
  }
}

/** statusOf sends one GET on a new connection and returns the status; 0: no answer within a second. */
export function statusOf(port: number, path: string, tls = false): Promise<number> {
  return new Promise((resolve) => {
    const options = {
      host: '127.0.0.1',
      port,
      path,
      agent: false,
      timeout: 1_000,
      rejectUnauthorized: false,
    };
    const request = (tls ? getOverTls : get)(options, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
      response.on('error', () => resolve(0));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(0));
  });
}
