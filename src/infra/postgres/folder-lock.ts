/**
 * A lock on a folder for as long as a process lives. It is the lock that SQLite takes on an empty file of the folder: the
 * operating system gives it to one process at a time and takes it back when that process ends, however it ends. That also
 * holds between containers that share a volume, and on a network file system that has locks (NFS does).
 *
 * The file stays when the lock is released: somebody may be about to lock it. Nothing else in this process may open and close
 * it, because that would release the lock (POSIX, fcntl).
 */
import { accessSync, constants, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { LbError, toError } from '../../contract/errors.ts';
import { makeFolder } from '../folders.ts';

const LOCK_NAME = 'lock';
/** Who holds the lock, as a sentence for those who are refused. */
const HOLDER_NAME = 'lock-holder';
/** SQLITE_BUSY. */
const BUSY = 5;
/** Keeps locks that nobody refers to any more from being collected, which would release them. */
const held = new Set<DatabaseSync>();

/**
 * lockFolder locks a folder, making it (0700) where it is missing. `purpose` tells others who holds it, e.g. "sluice serve".
 * Throws LbError folder_locked, naming the holder or what is wrong with the folder.
 *
 * @returns how to give the folder back; safe to call twice
 */
export function lockFolder(folder: string, purpose: string): () => void {
  const holderPath = join(folder, HOLDER_NAME);
  const holder = `process ${process.pid} on ${hostname()} (${purpose}, since ${new Date().toISOString()})`;
  let file: DatabaseSync | null = null;
  try {
    makeFolder(folder);
    // SQLite does not say why it cannot open a file.
    accessSync(folder, constants.W_OK);
    file = new DatabaseSync(join(folder, LOCK_NAME), { timeout: 0 });
    // Nothing is ever written: no journal needs a file.
    file.exec('pragma journal_mode = memory; begin immediate');
  } catch (thrown) {
    file?.close();
    throw refusal(folder, holderPath, thrown);
  }
  const locked = file;
  held.add(locked);
  try {
    writeFileSync(holderPath, holder, { mode: 0o600 });
  } catch {
    // A full disk, for one. The lock is held without the note.
  }
  return () => {
    if (!held.delete(locked)) return;
    rmSync(holderPath, { force: true });
    locked.close();
  };
}

function refusal(folder: string, holderPath: string, cause: unknown): LbError {
  const error = toError(cause);
  const isHeld = 'errcode' in error && error.errcode === BUSY;
  return new LbError(
    'folder_locked',
    isHeld
      ? `the folder ${folder} is in use by ${readHolder(holderPath)}: stop it first, or give each its own database.embeddedPath`
      : `cannot lock the folder ${folder} (${error.message}): set database.embeddedPath to one that this user can write, or database.url`,
    { cause },
  );
}

function readHolder(path: string): string {
  let holder = '';
  try {
    holder = readFileSync(path, 'utf8');
  } catch {
    // The holder has just begun, is about to end, is another user, or could not write it.
  }
  return holder || 'another process';
}
