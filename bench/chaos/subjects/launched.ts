/** Starts servers that are not Sluice, and any server under a supervisor that starts it again. */
import { type Child, processes, spawnChild } from '../../../test/support/child.ts';
import type { Setup } from './subject.ts';

/** A supervisor as simple as can be: what it runs is started again 50 ms after its end. */
const AGAIN = 'while :; do "$0" "$@" & wait $!; sleep 0.05; done';

/** launchServer runs a program with the descriptors, and under the supervisor, that the setup asks for. */
export function launchServer(command: string, args: string[], cwd: string, setup: Setup): Child {
  const files = setup.openFiles === undefined ? '"$(ulimit -Hn)"' : String(setup.openFiles);
  const run = setup.supervised === true ? AGAIN : 'exec "$0" "$@"';
  return spawnChild('/bin/sh', ['-c', `ulimit -n ${files}; ${run}`, command, ...args], { cwd });
}

/** primaryOf is the process that manages the others: the child of the supervisor, or the leader of the group. */
export function primaryOf(child: Child, setup: Setup): number {
  if (setup.supervised !== true) return child.pid;
  return processes().find(({ parentPid, state }) => parentPid === child.pid && state !== 'Z')?.pid ?? 0;
}

/** othersOf lists the processes of the group without the primary and the supervisor. */
export function othersOf(child: Child, setup: Setup): number[] {
  const managing = [child.pid, primaryOf(child, setup)];
  return child.groupPids().filter((pid) => !managing.includes(pid));
}
