import { existsSync, lstatSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCodeOf } from '../contract/errors.ts';

/**
 * makeFolder makes a folder and those above it that are missing (0700); one that exists stays as it is. Others may make the same
 * ones meanwhile. Throws what the file system throws. It does not use node's `recursive`, which never returns below a folder in
 * which none can be made, such as /proc.
 */
export function makeFolder(path: string): void {
  const above = dirname(path);
  if (above !== path && !existsSync(above)) makeFolder(above);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST' || !statSync(path).isDirectory()) throw thrown;
  }
}

/** assertPrivate throws unless a folder belongs to this user, and is no one else's to read or write (0700). */
export function assertPrivate(path: string): void {
  const { uid, mode } = lstatSync(path);
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0)
    throw new Error(`${path} must belong to this user alone (0700)`);
}

/** isAbsent: whether there surely is nothing; false where this user may not look. */
export function isAbsent(path: string): boolean {
  try {
    lstatSync(path);
    return false;
  } catch (thrown) {
    return ['ENOENT', 'ENOTDIR'].includes(systemCodeOf(thrown) ?? '');
  }
}
