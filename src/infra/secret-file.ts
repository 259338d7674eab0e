/** Secrets in files that only this user can read, made once per machine. */
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
 * ensureSecretFile returns the secret of the file. Where there is none, it makes one (0600), and its folder (0700) but none above.
 * Processes that do so at once all return the same secret. Throws what the file system throws.
 */
export function ensureSecretFile(path: string): string {
  return readSecretFile(path) ?? place(path, randomBytes(SECRET_BYTES).toString('base64url'));
}

/** adoptSecretFile copies the secret of `from` to `to` and returns it; null: there is no `from`. Throws as ensureSecretFile does. */
export function adoptSecretFile(from: string, to: string): string | null {
  const secret = readSecretFile(from);
  return secret === null ? null : place(to, secret);
}

/** Returns the secret that is in the file afterwards: another process may have been first. */
function place(path: string, secret: string): string {
  makeFolder(dirname(path));
  const draft = `${path}.${randomBytes(DRAFT_BYTES).toString('hex')}`;
  writeFileSync(draft, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  try {
    // A link is there with its whole content or not at all, and it never replaces another process's file.
    linkSync(draft, path);
    return secret;
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
    return ensureSecretFile(path);
  } finally {
    unlinkSync(draft);
  }
}

/** Not `recursive`: where the parent cannot hold folders (/proc), node would try for ever. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
  }
}
