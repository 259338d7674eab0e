/**
 * Builds the names of keys in a store; nothing else does. A bucket: `<prefix>:rl1:{<hash>}:<policy>`. The braces around the
 * hash are the only ones, so that a Redis Cluster puts all buckets of one caller on one node. Nothing that comes from outside
 * is part of a key in the clear.
 */
import { createHash } from 'node:crypto';

/** The format of a bucket's state (lua/take-tokens-n.lua); a new format gets a new name and never meets old state. */
const STATE_FORMAT = 'rl1';
/** 128 bits: no two callers collide by chance, and nobody can aim at another's bucket. */
const HASH_BYTES = 16;

/**
 * hashBucketName turns the name of a bucket's owner into 22 characters of base64url. Addresses and client ids are one
 * namespace: a client whose id is an address has the bucket of the anonymous caller at it.
 */
export function hashBucketName(name: string): string {
  const digest = createHash('sha256').update(`client:${name}`).digest();
  return digest.subarray(0, HASH_BYTES).toString('base64url');
}

/**
 * bucketKey names one bucket, without the store's prefix: TakeRequest.key.
 *
 * @param hash result of hashBucketName
 */
export function bucketKey(hash: string, policyName: string): string {
  return `{${hash}}${keySuffixOf(policyName)}`;
}

/** keySuffixOf is what all buckets of a policy end with: `{<hash>}` + suffix is a bucketKey. */
export function keySuffixOf(policyName: string): string {
  return `:${escapePart(policyName)}`;
}

/** hashOf is the owner's hash in a bucketKey; '' for any other text. */
export function hashOf(key: string): string {
  return key.startsWith('{') ? key.slice(1, Math.max(1, key.indexOf('}'))) : '';
}

/** probeKey names a bucket that belongs to nobody: no owner's hash is that short. */
export function probeKey(name: number): string {
  return `{${name}}:probe`;
}

/** storeKeyPrefix is what a store shared with other programs puts before a bucketKey. */
export function storeKeyPrefix(prefix: string): string {
  return `${escapePrefix(prefix)}:${STATE_FORMAT}:`;
}

/** instancesKey is where the instances that share a store announce themselves. */
export function instancesKey(prefix: string): string {
  return `${escapePrefix(prefix)}:instances`;
}

function escapePrefix(prefix: string): string {
  return prefix.replaceAll(/[^A-Za-z0-9._:-]/g, escapeUnit);
}

function escapePart(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9._-]/g, escapeUnit);
}

/** Per UTF-16 unit, so that no two texts become one, whatever is in them. */
function escapeUnit(unit: string): string {
  return `%${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
