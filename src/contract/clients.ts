/** Rows of the `clients` table as workers know them, and the interfaces through which the limiter asks for them. */
export type ClientMode = 'limit' | 'unlimited' | 'blocked';

/** A bucket takes at most this long to fill: capacity / refillPerSecond. */
export const MAX_FILL_SEC = 30 * 24 * 3600;

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

export interface ClientMatch {
  /** null: no client is configured. */
  client: ClientRecord | null;
  /**
   * A client's id; else the canonical address or range of the caller. So a client whose id is an address takes over the bucket
   * that the address had before, which creating the client does not refill.
   */
  bucketName: string;
  /** Version of the newest tombstone for `bucketName`, else 0; limits that apply have no lower version. */
  tombstoneUs: number;
}

export function matchOfClient(client: ClientRecord): ClientMatch {
  return { client, bucketName: client.clientId, tombstoneUs: 0 };
}

/** matchOfNobody is for a name that no client has. @param last the tombstone of that name, or null */
export function matchOfNobody(bucketName: string, last: { versionUs: number } | null): ClientMatch {
  return { client: null, bucketName, tombstoneUs: last?.versionUs ?? 0 };
}

/** VerifiedKey is a valid key. `revoked` may become true later. */
export interface VerifiedKey {
  readonly clientId: string;
  readonly revoked: boolean;
}

/** malformed: no Sluice key by its form, perhaps one of the backend; unknown: wrong, revoked, or made with another secret. */
export type ApiKeyRefusal = 'malformed' | 'unknown';

/** ApiKeyLookup is implemented by the worker's client directory and used by limit/. Synchronous, never throws. */
export interface ApiKeyLookup {
  verify(text: string): VerifiedKey | ApiKeyRefusal;
  /** byName is the client of a verified key as the directory knows it now; null: there is none, so the key proves nothing. */
  byName(clientId: string): ClientRecord | null;
}

/** ClientLookup is implemented by the worker's client directory and used by limit/. Synchronous, never throws. */
export interface ClientLookup {
  /** While it is the same, answers are the same. */
  readonly generation: number;
  /** Seconds since the epoch, renewed once a second. */
  readonly nowSec: number;
  /** noteSeen writes nowSec to the client's record; who calls it more than once in a second changes nothing. */
  noteSeen(clientId: string): void;
  /**
   * @param address canonical
   * @param grouped the canonical address, or the range that it shares a bucket with when it has no client
   */
  byAddress(address: string, grouped: string): ClientMatch;
}
