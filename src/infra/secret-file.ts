/** A secret that is made once per machine and kept in a file of its own, readable by this user alone. */
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
 * ensureSecretFile returns the secret of the file, made now (0600, its folder, of one level, 0700) where there is none. Of several
 * processes that do so at once all return the same one. Throws what the file system throws.
 */
export function ensureSecretFile(path: string): string {
  const known = readSecretFile(path);
  if (known !== null) return known;
  makeFolder(dirname(path));
  const fresh = randomBytes(SECRET_BYTES).toString('base64url');
  const draft = `${path}.${randomBytes(DRAFT_BYTES).toString('hex')}`;
  writeFileSync(draft, `${fresh}\n`, { mode: 0o600, flag: 'wx' });
  try {
    // A link appears whole, and not over a file that somebody else has put there meanwhile.
    linkSync(draft, path);
    return fresh;
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
    return ensureSecretFile(path);
  } finally {
    unlinkSync(draft);
  }
}

/** Not `recursive`: where a parent cannot hold folders (/proc), Node's own then tries for ever. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
  }
}
