/** Finds the client of an API key, with a bounded cache and counters. One per plan. */
import {
  type ApiKeyLookup,
  type ClientRecord,
  matchOfClient,
  type VerifiedKey,
} from '../../contract/clients.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';
import { GenerationMap } from '../bucket/generation-map.ts';
import { type BucketOwner, ownerOf } from './bucket-owner.ts';

/** Verified keys that are remembered. Invalid keys are not, so that they cannot push out valid ones. */
const MAX_CACHED_KEYS = 20_000;

export class ApiKeyClients {
  readonly #lookup: ApiKeyLookup;
  readonly #metrics: WorkerMetrics;
  readonly #cells: Readonly<Record<'valid' | 'unknown' | 'malformed', number>>;
  readonly #verified = new GenerationMap<VerifiedKey>(MAX_CACHED_KEYS);
  readonly #clients = new GenerationMap<BucketOwner>(MAX_CACHED_KEYS);

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
  clientOf(key: string): BucketOwner | null {
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
    const client = this.#lookup.byName(verified.clientId);
    this.#metrics.add(client === null ? this.#cells.unknown : this.#cells.valid, 1);
    return client === null ? null : this.#shared(client);
  }

  #shared(client: ClientRecord): BucketOwner {
    const known = this.#clients.get(client.clientId);
    if (known?.match.client === client) return known;
    const made = ownerOf(matchOfClient(client));
    this.#clients.set(client.clientId, made);
    return made;
  }
}
