/**
 * Who the callers are, in the memory of a worker: filled by the primary's messages, asked once per new caller. A full
 * snapshot is gathered aside and takes over with its last part, so that no request ever sees half of it.
 */
import type { ClientLookup, ClientMatch, ClientRecord, ClientTombstone } from '../contract/clients.ts';
import type { Clock } from '../contract/clock.ts';
import type { PrimaryMessage } from '../contract/messages.ts';
import { NetworkIndex } from './network-index.ts';

export type ClientsMessage = Extract<PrimaryMessage, { type: 'clients' }>;

/** No bucket is older than 30 days, so no older tombstone can matter. */
export const TOMBSTONE_DAYS = 31;
const DAY_US = 86_400_000_000;
const PRUNE_EVERY_MS = 3_600_000;

export class ClientDirectory implements ClientLookup {
  readonly #clock: Clock;
  #entries = new Entries();
  /** A snapshot under way. */
  #draft: Entries | null = null;
  #version = 0;
  #prunedAtMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#prunedAtMs = clock.monotonicMs();
  }

  /** Version of the last complete message; 0: none yet. */
  get version(): number {
    return this.#version;
  }

  get clientCount(): number {
    return this.#entries.records.size;
  }

  /**
   * apply takes one message and returns the version to acknowledge when it was the last of its parts, else null. Parts
   * of a snapshot come in a row; one that lost its beginning is ignored.
   */
  apply(message: ClientsMessage): number | null {
    const entries = this.#targetOf(message);
    if (entries === null) return null;
    for (const client of message.upserts) entries.upsert(client);
    for (const tombstone of message.tombstones) entries.bury(tombstone);
    if (!message.last) return null;
    if (message.full) {
      this.#entries = entries;
      this.#draft = null;
    }
    this.#version = message.version;
    this.#prune();
    return message.version;
  }

  /** An exact address, then the longest range, then nobody; see ClientLookup. Cost: one look-up per prefix length in use. */
  byAddress(address: string, grouped: string): ClientMatch {
    const { records, networks, tombstones } = this.#entries;
    const client = records.get(address) ?? networks.find(address);
    const bucketName = client?.clientId ?? grouped;
    return { client, bucketName, tombstoneUs: tombstones.get(bucketName) ?? 0 };
  }

  /** byName finds a client by its id, for callers whose name was proven; null: unknown. */
  byName(clientId: string): ClientRecord | null {
    return this.#entries.records.get(clientId) ?? null;
  }

  #targetOf(message: ClientsMessage): Entries | null {
    if (!message.full) return this.#entries;
    if (message.first) this.#draft = new Entries();
    return this.#draft;
  }

  #prune(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#prunedAtMs < PRUNE_EVERY_MS) return;
    this.#prunedAtMs = nowMs;
    this.#entries.dropTombstones(this.#clock.wallMs() * 1000 - TOMBSTONE_DAYS * DAY_US);
  }
}

/** One generation of the directory. An id is a client or a tombstone, never both; the newer version wins. */
class Entries {
  readonly records = new Map<string, ClientRecord>();
  readonly networks = new NetworkIndex<ClientRecord>();
  readonly tombstones = new Map<string, number>();

  upsert(client: ClientRecord): void {
    const { clientId, versionUs } = client;
    if (versionUs < this.#versionOf(clientId)) return;
    this.records.set(clientId, client);
    this.networks.set(clientId, client);
    this.tombstones.delete(clientId);
  }

  bury({ clientId, versionUs }: ClientTombstone): void {
    if (versionUs < this.#versionOf(clientId)) return;
    this.records.delete(clientId);
    this.networks.delete(clientId);
    this.tombstones.set(clientId, versionUs);
  }

  dropTombstones(beforeUs: number): void {
    for (const [clientId, versionUs] of this.tombstones) {
      if (versionUs < beforeUs) this.tombstones.delete(clientId);
    }
  }

  #versionOf(clientId: string): number {
    return this.records.get(clientId)?.versionUs ?? this.tombstones.get(clientId) ?? 0;
  }
}
