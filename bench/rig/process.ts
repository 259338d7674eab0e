/** Servers of the bench: child processes whose output goes to files, as in production, and not through the bench. */
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { type Child, spawnChild } from '../../test/support/child.ts';
import { waitFor } from '../../test/support/wait.ts';

export interface ServerProcess {
  readonly name: string;
  readonly port: number;
  /** As started, without this machine's paths. */
  readonly command: string;
  /** pids of all its processes, the first one included. */
  pids(): number[];
  /** workerPids leaves out the first process where there are others: it only manages them. */
  workerPids(): number[];
  /** output gives what it has written to standard output and standard error. */
  output(): string;
  stop(): Promise<void>;
}

export interface Launch {
  name: string;
  command: string;
  args: string[];
  /** Working folder; gets the files stdout and stderr. */
  folder: string;
  env?: Record<string, string | undefined>;
}

/** launch starts a program; `pid` leads a process group of its own. Who calls it waits until it serves. */
export function launch({ name, command, args, folder, env }: Launch): Child {
  // The shell is replaced by the program, so that pid and group are its own.
  const redirect = `exec "$0" "$@" >'${name}.stdout' 2>'${name}.stderr'`;
  return spawnChild('/bin/sh', ['-c', redirect, command, ...args], { cwd: folder, env });
}

/** outputOf reads what `launch` redirected. */
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
    pids: () => child.groupPids(),
    workerPids: () => {
      const others = child.groupPids().filter((pid) => pid !== child.pid);
      return others.length > 0 ? others : [child.pid];
    },
    output: () => outputOf(folder, name, 'stdout') + outputOf(folder, name, 'stderr'),
    async stop() {
      // Nothing of a bench is worth waiting for.
      await child.stop('SIGTERM', 5_000).catch(() => child.kill());
    },
  };
}

export interface ServerFacts {
  name: string;
  folder: string;
  port: number;
  command: string;
}

/** untilServes waits for a 200 from `path`, and tells the output of a server that never gave one. */
export async function untilServes(
  child: Child,
  { name, folder, port }: ServerFacts,
  path: string,
): Promise<void> {
  try {
    await waitFor(
      `${name} to answer ${path} with 200`,
      async () => {
        if (child.exitStatus !== null) return 'exited';
        return (await statusOf(port, path)) === 200 ? 'serves' : null;
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

/** statusOf gives the status of one GET on a connection of its own; 0 when there was no answer within a second. */
export function statusOf(port: number, path: string): Promise<number> {
  return new Promise((resolve) => {
    const request = get({ host: '127.0.0.1', port, path, agent: false, timeout: 1_000 }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
      response.on('error', () => resolve(0));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(0));
  });
}
