/**
 * The names of keys in a store, made here only. A bucket: `<prefix>:rl1:{<hash>}:<policy>`. The braces around the hash are the
 * only ones, so that a Redis Cluster puts all buckets of a caller on one node. Text from outside is escaped or hashed.
 */
import { createHash } from 'node:crypto';

/** The format of a bucket's state (lua/take-tokens-n.lua); a new format gets a new name and never meets old state. */
const STATE_FORMAT = 'rl1';
/** 128 bits: no two callers collide by chance, and nobody can hit another's bucket on purpose. */
const HASH_BYTES = 16;

/**
 * hashBucketName turns the name of a bucket's owner into 22 characters of base64url. Addresses and client ids
 * share one namespace: a client whose id is an address has the bucket of the anonymous caller there.
 */
export function hashBucketName(name: string): string {
  const digest = createHash('sha256').update(`client:${name}`).digest();
  return digest.subarray(0, HASH_BYTES).toString('base64url');
}

/** bucketKey names one bucket without the store's prefix, as in TakeRequest.key; `hash` by hashBucketName. */
export function bucketKey(hash: string, policyName: string): string {
  return `{${hash}}${keySuffixOf(policyName)}`;
}

/** keySuffixOf is the end of all keys of a policy: `{<hash>}` + suffix is a bucketKey. */
export function keySuffixOf(policyName: string): string {
  return `:${escapePart(policyName)}`;
}

/** hashOf is the owner's hash in a bucketKey; '' for any other text. */
export function hashOf(key: string): string {
  return key.startsWith('{') ? key.slice(1, Math.max(1, key.indexOf('}'))) : '';
}

/** probeKey names a bucket that belongs to nobody, since no owner's hash is that short. */
export function probeKey(name: number): string {
  return `{${name}}:probe`;
}

/** storeKeyPrefix is what Redis, which may hold other keys too, has before a bucketKey. */
export function storeKeyPrefix(prefix: string): string {
  return `${escapePrefix(prefix)}:${STATE_FORMAT}:`;
}

/** instancesKey names the key where the instances that share a store announce themselves. */
export function instancesKey(prefix: string): string {
  return `${escapePrefix(prefix)}:instances`;
}

function escapePrefix(prefix: string): string {
  return prefix.replaceAll(/[^A-Za-z0-9._:-]/g, escapeUnit);
}

function escapePart(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9._-]/g, escapeUnit);
}

/** Per UTF-16 unit, so that no two texts become one. */
function escapeUnit(unit: string): string {
  return `%${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
