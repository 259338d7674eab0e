import type { ClientMatch, ClientMode } from '../../contract/clients.ts';
import { hashBucketName } from '../bucket/bucket-key.ts';

/** BucketOwner is whose bucket a request is counted in. With a key it is one object until the client changes. */
export interface BucketOwner {
  /** null: the caller is not a client. */
  readonly clientId: string | null;
  readonly mode: ClientMode;
  readonly match: ClientMatch;
  /** For bucketKey. */
  readonly bucketHash: string;
}

/** ownerOf is the owner of the bucket of a match. */
export function ownerOf(match: ClientMatch): BucketOwner {
  const { clientId = null, mode = 'limit' } = match.client ?? {};
  return { clientId, mode, match, bucketHash: hashBucketName(match.bucketName) };
}
