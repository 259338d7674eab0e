import { existsSync, readFileSync } from 'node:fs';

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
