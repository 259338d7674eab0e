import { existsSync, readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';

/** Assumed where the system does not tell (anything but Linux): the smallest limit in common use. */
const FALLBACK_LIMIT = 1024;

/**
 * openFileLimit returns how many files this process may have open: the soft limit, which Node raises to the hard one at its start.
 * The default caps of connections (B20), of probes and of connections that wait to be dealt derive from it.
 */
export function openFileLimit(): number {
  const path = '/proc/self/limits';
  const limits = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  return soft === 'unlimited' ? 1_048_576 : Number(soft) || FALLBACK_LIMIT;
}

const LIST = '/proc/self/fd';

/**
 * countOpenFiles counts the descriptors of this process, for its report; 0 where the system does not tell. Linux has told the number
 * since 6.2; before, the list is read, which takes the event loop a millisecond for 10,000 of them.
 */
export async function countOpenFiles(): Promise<number> {
  if (!existsSync(LIST)) return 0;
  const { size } = await stat(LIST);
  // Less the one that reads the list.
  return size > 0 ? size : (await readdir(LIST)).length - 1;
}
