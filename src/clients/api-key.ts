/**
 * An API key: `slk_<keyId>_<secret part>`. The id names the key in lists and calls and is not secret. The secret part is 256
 * random bits. Only the HMAC of the key is kept. The form is fixed: scanners find a key that was committed somewhere, and keys
 * of other makers are told apart without cryptography.
 */
import { createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';

const PREFIX = 'slk_';
/** 48 bits of time in ms, then 48 random bits: ids sort by the time of issue, and two of one millisecond differ. */
const ID_TIME_HEX = 12;
const ID_RANDOM_BYTES = 6;
const SECRET_BYTES = 32;
const KEY = /^slk_[0-9a-f]{24}_[A-Za-z0-9_-]{43}$/;
/** Enough to tell secrets apart, too little to help in guessing one. */
const SECRET_ID_BYTES = 6;

/** SigningSecret is what digests are made with; the same on every machine that shares the database. */
export interface SigningSecret {
  /** Text of the setting or the file. */
  readonly text: string;
  readonly key: KeyObject;
  /** Stored with each key: which secret it was signed with. */
  readonly id: string;
}

/** makeSigningSecret prepares a secret of one character and more for use. */
export function makeSigningSecret(text: string): SigningSecret {
  const key = createSecretKey(text, 'utf8');
  // No key has this form, so the id is never the beginning of a key's digest.
  const id = createHmac('sha256', key).update('id of the secret').digest('hex');
  return { text, key, id: id.slice(0, SECRET_ID_BYTES * 2) };
}

/** makeApiKey makes a new one. */
export function makeApiKey(): { keyId: string; key: string } {
  const time = Date.now().toString(16).padStart(ID_TIME_HEX, '0');
  const keyId = time + randomBytes(ID_RANDOM_BYTES).toString('hex');
  return { keyId, key: `${PREFIX}${keyId}_${randomBytes(SECRET_BYTES).toString('base64url')}` };
}

/** isApiKey tells keys of ours from anything else by their form. */
export function isApiKey(text: string): boolean {
  return KEY.test(text);
}

/** digestOf is what is stored and compared of a key: its HMAC-SHA-256, 32 bytes. About 2 µs. */
export function digestOf(secret: KeyObject, key: string): Buffer {
  return createHmac('sha256', secret).update(key).digest();
}
