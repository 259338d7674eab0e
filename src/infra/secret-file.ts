/** A secret that is made once per machine and kept in a file that only this user can read. */
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCodeOf } from '../contract/errors.ts';

const SECRET_BYTES = 32;
const DRAFT_BYTES = 6;
const SECRET = /^[A-Za-z0-9_-]{43}$/;

/** readSecretFile returns the secret, or null where there is no such file. Throws what the file system throws. */
export function readSecretFile(path: string): string | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return null;
    throw thrown;
  }
  if (!SECRET.test(text)) throw new Error(`${path} does not hold a secret that Sluice made`);
  return text;
}

/**
 * ensureSecretFile returns the secret of the file, made now (0600; its folder, of one level, 0700) where there is none. Of
 * several processes that do so at once all return the same one. Throws what the file system throws.
 */
export function ensureSecretFile(path: string): string {
  return readSecretFile(path) ?? place(path, randomBytes(SECRET_BYTES).toString('base64url'));
}

/** adoptSecretFile copies the secret of another file, and returns it; null: there is no such file. Throws as ensureSecretFile. */
export function adoptSecretFile(from: string, to: string): string | null {
  const secret = readSecretFile(from);
  return secret === null ? null : place(to, secret);
}

/** Returns what is in the file in the end: another process may have been faster. */
function place(path: string, secret: string): string {
  makeFolder(dirname(path));
  const draft = `${path}.${randomBytes(DRAFT_BYTES).toString('hex')}`;
  writeFileSync(draft, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  try {
    // A link appears whole, and not over a file that another process has put there meanwhile.
    linkSync(draft, path);
    return secret;
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
    return ensureSecretFile(path);
  } finally {
    unlinkSync(draft);
  }
}

/** Not `recursive`: where the parent cannot hold folders (/proc), node's own then tries for ever. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
  }
}
