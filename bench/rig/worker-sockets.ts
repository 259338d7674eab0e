/** Counts the connections of each process from /proc (Linux), because the numbers of the admin port are up to a second old. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const ESTABLISHED = '01';
const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

/** connectionsOf counts the established connections of each process on a port. A process that has exited has 0. */
export function connectionsOf(pids: readonly number[], port: number): number[] {
  const inodes = establishedOn(port);
  return pids.map((pid) => socketsOf(pid).filter((inode) => inodes.has(inode)).length);
}

function establishedOn(port: number): Set<string> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = new Set<string>();
  for (const line of TABLES.flatMap(linesOf)) {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
    if (state === ESTABLISHED && local.endsWith(suffix)) inodes.add(inode);
  }
  return inodes;
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\n').slice(1);
  } catch {
    return []; // a machine without IPv6
  }
}

function socketsOf(pid: number): string[] {
  const inodes: string[] = [];
  try {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) inodes.push(inodeOf(`/proc/${pid}/fd/${fd}`));
  } catch {
    return inodes; // the process has ended meanwhile
  }
  return inodes;
}

function inodeOf(path: string): string {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(path))?.[1] ?? '';
  } catch {
    return ''; // closed meanwhile
  }
}
