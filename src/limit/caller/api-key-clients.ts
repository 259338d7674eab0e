/** Finds the client of an API key, with a bounded cache and counters. One per plan. */
import {
  type ApiKeyLookup,
  type ClientMatch,
  type ClientRecord,
  matchOfClient,
  type VerifiedKey,
} from '../../contract/clients.ts';
import type { WorkerMetrics } from '../../infra/metrics.ts';
import { hashBucketName } from '../bucket/bucket-key.ts';
import { GenerationMap } from '../bucket/generation-map.ts';

/** Verified keys that are remembered. Invalid keys are not, so that they cannot push out valid ones. */
const MAX_CACHED_KEYS = 20_000;

/** KeyedClient is shared by all callers with a key of one client; one object until the client changes. */
export interface KeyedClient {
  readonly match: ClientMatch;
  readonly client: ClientRecord;
  /** For bucketKey. */
  readonly bucketHash: string;
}

export class KeyedClients {
  readonly #lookup: ApiKeyLookup;
  readonly #metrics: WorkerMetrics;
  readonly #cells: Readonly<Record<'valid' | 'unknown' | 'malformed', number>>;
  readonly #verified = new GenerationMap<VerifiedKey>(MAX_CACHED_KEYS);
  readonly #clients = new GenerationMap<KeyedClient>(MAX_CACHED_KEYS);

  constructor(lookup: ApiKeyLookup, metrics: WorkerMetrics) {
    this.#lookup = lookup;
    this.#metrics = metrics;
    const cell = (result: string): number => metrics.series('sluice_api_key_requests_total', result);
    this.#cells = { valid: cell('valid'), unknown: cell('unknown'), malformed: cell('malformed') };
  }

  /**
   * clientOf counts the key and returns its client; null: the key is not valid.
   *
   * @param key the field's value as received, not empty; several fields joined by ', '
   */
  clientOf(key: string): KeyedClient | null {
    let verified = this.#verified.get(key);
    if (verified === undefined || verified.revoked) {
      const found = this.#lookup.verify(key);
      if (typeof found === 'string') {
        this.#metrics.add(this.#cells[found], 1);
        return null;
      }
      this.#verified.set(key, found);
      verified = found;
    }
    // Looked up each time, because the directory may have changed.
    const client = this.#lookup.clientOf(verified);
    this.#metrics.add(client === null ? this.#cells.unknown : this.#cells.valid, 1);
    return client === null ? null : this.#shared(client);
  }

  #shared(client: ClientRecord): KeyedClient {
    const { clientId } = client;
    const known = this.#clients.get(clientId);
    if (known?.client === client) return known;
    const bucketHash = known?.bucketHash ?? hashBucketName(clientId);
    const made = { match: matchOfClient(client), client, bucketHash };
    this.#clients.set(clientId, made);
    return made;
  }
}
