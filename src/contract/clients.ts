/**
 * Who the callers are, as the primary tells workers: rows of the `clients` table, and the interface through which the
 * limiter asks for them without importing the directory.
 */
export type ClientMode = 'limit' | 'unlimited' | 'blocked';

export interface BucketLimits {
  /** Tokens the bucket holds at most; integer 1…1e9. */
  capacity: number;
  /** Tokens per second; 1e-6…1e9. */
  refillPerSecond: number;
}

export interface ClientRecord {
  /** A name, an address or a CIDR in canonical form; 1–128 characters. */
  clientId: string;
  mode: ClientMode;
  /** Own limits by policy name; `default` holds the row's `capacity` and `refillPerSecond`. Empty: the policies' own. */
  limits: Readonly<Record<string, BucketLimits>>;
  /** The database's time of the last change in µs since the epoch; never decreases for one clientId. */
  versionUs: number;
}

/** ClientTombstone marks a deleted client: limits older than it must not come back for its bucket. */
export interface ClientTombstone {
  clientId: string;
  versionUs: number;
}

export interface ClientMatch {
  /** null: nobody is configured for this address. */
  client: ClientRecord | null;
  /**
   * What the bucket belongs to: a client's id, or the (grouped) address in canonical form for an unknown caller. An
   * address client and the anonymous caller at that address share the name, so that creating the client is no gift.
   */
  bucketName: string;
  /** Newest tombstone for `bucketName`, else 0; a floor for the version of the limits that apply. */
  tombstoneUs: number;
}

/** matchOfClient is what a client is charged as. */
export function matchOfClient(client: ClientRecord): ClientMatch {
  return { client, bucketName: client.clientId, tombstoneUs: 0 };
}

/** matchOfNobody is for a name that no client has. @param last the last word of it: a deleted client, or null */
export function matchOfNobody(bucketName: string, last: { versionUs: number } | null): ClientMatch {
  return { client: null, bucketName, tombstoneUs: last?.versionUs ?? 0 };
}

/** VerifiedKey is a key that was found; whoever keeps the object must look at `revoked` before using it again. */
export interface VerifiedKey {
  readonly clientId: string;
  readonly revoked: boolean;
}

/** malformed: not the form of a Sluice key, so perhaps the backend's own; unknown: wrong, revoked, or of another secret. */
export type ApiKeyRefusal = 'malformed' | 'unknown';

/** ApiKeyLookup is implemented by the worker's directory of keys and used by limit/. Synchronous, never throws. */
export interface ApiKeyLookup {
  verify(text: string): VerifiedKey | ApiKeyRefusal;
  /** The client of a key by the newest word; null: there is none. */
  clientOf(key: VerifiedKey): ClientRecord | null;
}

/** ClientLookup is implemented by the worker's client directory and used by limit/. Synchronous, never throws. */
export interface ClientLookup {
  /** Raised whenever an answer may be another one; the same number, the same answers. */
  readonly generation: number;
  /**
   * @param address canonical address (`::ffff:1.2.3.4` already turned into `1.2.3.4`)
   * @param grouped canonical form of the anonymous group of that address: the address, or its prefix as CIDR
   */
  byAddress(address: string, grouped: string): ClientMatch;
}
