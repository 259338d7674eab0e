/** The process's limit of open files, for the default cap of connections (B20). */
import { readFileSync } from 'node:fs';

/** Assumed where the system does not tell: anything but Linux. */
const FALLBACK_LIMIT = 1024;

/** openFileLimit returns the soft limit of this process; Node raises it to the hard one at start. */
export function openFileLimit(): number {
  let text: string;
  try {
    text = readFileSync('/proc/self/limits', 'utf8');
  } catch {
    // No procfs: not Linux. The cap then follows the smallest limit in common use.
    return FALLBACK_LIMIT;
  }
  const soft = /^Max open files\s+(\S+)/m.exec(text)?.[1];
  const limit = Number(soft);
  if (soft === 'unlimited') return 1_048_576;
  return Number.isInteger(limit) && limit > 0 ? limit : FALLBACK_LIMIT;
}
