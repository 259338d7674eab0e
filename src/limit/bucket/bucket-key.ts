/**
 * All names of keys in a store. A bucket is `<prefix>:rl1:{<hash>}:<policy>`. There are no other braces, so a Redis Cluster puts
 * all buckets of a caller on one node. Text from outside is escaped or hashed.
 */
import { createHash } from 'node:crypto';

/** The format of a bucket's state (lua/take-tokens-n.lua). A new format gets a new name, so that it never reads old state. */
const STATE_FORMAT = 'rl1';
/** 128 bits: no two callers collide by chance, and no caller can choose another's bucket. */
const HASH_BYTES = 16;

/**
 * hashBucketName hashes the name of a bucket's owner to 22 characters of base64url. Addresses and client ids share one
 * namespace: a client whose id is an address shares the bucket of the anonymous caller at that address.
 */
export function hashBucketName(name: string): string {
  const digest = createHash('sha256').update(`client:${name}`).digest();
  return digest.subarray(0, HASH_BYTES).toString('base64url');
}

/** bucketKey is the key of a bucket without the store's prefix, as in TakeRequest.key; `hash` by hashBucketName. */
export function bucketKey(hash: string, policyName: string): string {
  return `{${hash}}${keySuffixOf(policyName)}`;
}

/** keySuffixOf is the end of all keys of a policy: a bucketKey is `{<hash>}` and the suffix. */
export function keySuffixOf(policyName: string): string {
  return `:${policyName.replaceAll(/[^A-Za-z0-9._-]/g, escapeUnit)}`;
}

/** hashOf is the owner's hash in a bucketKey; '' for any other text. */
export function hashOf(key: string): string {
  return key.startsWith('{') ? key.slice(1, Math.max(1, key.indexOf('}'))) : '';
}

/** probeKey is the key of a bucket that no caller owns: no owner's hash is that short. */
export function probeKey(name: number): string {
  return `{${name}}:probe`;
}

/** storeKeyPrefix is what a key in Redis has before the bucketKey: Redis may have other keys. */
export function storeKeyPrefix(prefix: string): string {
  return `${escapePrefix(prefix)}:${STATE_FORMAT}:`;
}

/** instancesKey is the key where the instances that share a store announce themselves. */
export function instancesKey(prefix: string): string {
  return `${escapePrefix(prefix)}:instances`;
}

function escapePrefix(prefix: string): string {
  return prefix.replaceAll(/[^A-Za-z0-9._:-]/g, escapeUnit);
}

/** Per UTF-16 unit, so that no two texts become one. */
function escapeUnit(unit: string): string {
  return `%${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
