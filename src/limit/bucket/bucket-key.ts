/**
 * The one place that builds names of keys in a store. A bucket: `<prefix>:rl1:{<hash>}:<policy>`. The braces around the hash
 * are the only ones, so that Redis Cluster puts all buckets of one caller on one node; nothing that comes from outside
 * is ever part of a key in the clear.
 */
import { createHash } from 'node:crypto';

/** The format of a bucket's state (lua/take-tokens-n.lua); a new format gets a new name and never meets old state. */
const STATE_FORMAT = 'rl1';
/** 128 bits: no two callers meet by chance, and nobody can aim at another's bucket. */
const HASH_BYTES = 16;

/** What a hashed name belongs to; names of different kinds never share a bucket. */
export type BucketNamespace = 'client' | 'probe';

/**
 * hashBucketName turns the name of a bucket's owner into 22 characters of base64url. Addresses and client ids are one
 * namespace: a client whose id is an address has the bucket of the anonymous caller at it.
 */
export function hashBucketName(namespace: BucketNamespace, name: string): string {
  const digest = createHash('sha256').update(`${namespace}:${name}`).digest();
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

/** storeKeyPrefix is what a store shared with other programs puts before a bucketKey. */
export function storeKeyPrefix(prefix: string): string {
  return `${escapePrefix(prefix)}:${STATE_FORMAT}:`;
}

/** instancesKey is where the instances that share a store say that they live. */
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
