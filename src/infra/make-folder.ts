import { existsSync, lstatSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCodeOf } from '../contract/errors.ts';

/**
 * makeFolder makes a folder and those above it that are missing (0700); one that exists stays as it is. Throws what the file
 * system throws. It does not use node's `recursive`, which never returns below a folder in which none can be made, such as /proc.
 */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (thrown) {
    const code = systemCodeOf(thrown);
    if (code === 'EEXIST' && statSync(path).isDirectory()) return;
    if (code !== 'ENOENT' || existsSync(dirname(path))) throw thrown;
    makeFolder(dirname(path));
    makeFolder(path);
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
