/**
 * Who the callers are, in the memory of a worker: filled by the primary's messages, asked once per caller and change. A full
 * set is gathered aside and takes over with its last part, so that no request ever sees half of it; changes that come in
 * between are merged into both.
 */
import {
  type ClientLookup,
  type ClientMatch,
  type ClientRecord,
  matchOfClient,
  matchOfNobody,
} from '../contract/clients.ts';
import type { Clock } from '../contract/clock.ts';
import { CLIENTS_PART_BYTES, type PrimaryMessage } from '../contract/messages.ts';
import { ClientTable } from './client-table.ts';
import { areRecords, lengthAt } from './packed-client.ts';

export type ClientsMessage = Extract<PrimaryMessage, { type: 'clients' }>;

/** No bucket is older than 30 days, so no older tombstone can matter. */
export const TOMBSTONE_DAYS = 31;
const DAY_US = 86_400_000_000;
/** Clients whose objects are kept, to be handed out again; more only means that objects are made anew. */
const MAX_OBJECTS = 20_000;

/** The object of a client, and the generation in which it was found to be the newest last. */
interface Known {
  client: ClientRecord;
  generation: number;
}

export class ClientDirectory implements ClientLookup {
  readonly #clock: Clock;
  readonly #received = Buffer.allocUnsafeSlow(CLIENTS_PART_BYTES);
  readonly #known = new Map<string, Known>();
  #table = new ClientTable();
  /** A full set under way. */
  #draft: ClientTable | null = null;
  #version = 0;
  #generation = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Version of the last complete message; 0: none yet. */
  get version(): number {
    return this.#version;
  }

  /** See ClientLookup. */
  get generation(): number {
    return this.#generation;
  }

  get clientCount(): number {
    return this.#table.clientCount;
  }

  /**
   * apply takes one message. Parts of a full set come in a row; one that lost its beginning is ignored.
   *
   * @returns false: the records are none that a primary of this version packs, and were not taken
   */
  apply({ full, first, last, version, records }: ClientsMessage): boolean {
    const end = this.#decode(records);
    if (end === -1) return false;
    if (full && first) this.#draft = new ClientTable();
    if (this.#draft !== null) this.#merge(this.#draft, end);
    if (full) {
      if (!last || this.#draft === null) return true;
      this.#table = this.#draft;
      this.#draft = null;
    } else {
      // Before the first full set nobody shall be known, rather than a few.
      if (this.#version === 0) return true;
      this.#merge(this.#table, end);
    }
    this.#version = version;
    this.#generation++;
    return true;
  }

  /** forgetSome drops tombstones that no bucket can need any more, a few at a time: to be called about once a second. */
  forgetSome(): void {
    this.#table.forgetSome(this.#clock.wallMs() * 1000 - TOMBSTONE_DAYS * DAY_US);
  }

  /** An exact address, then the longest range, then nobody; see ClientLookup. Cost: one look-up per prefix length in use. */
  byAddress(address: string, grouped: string): ClientMatch {
    const found = this.#table.get(address)?.client ?? this.#table.longestRange(address);
    if (found !== null) return matchOfClient(this.#sameObject(found));
    const entry = this.#table.get(grouped);
    return matchOfNobody(grouped, entry?.client === null ? entry : null);
  }

  /** byName finds a client by its id, for callers whose name was proven; null: unknown. */
  byName(clientId: string): ClientRecord | null {
    const known = this.#known.get(clientId);
    if (known?.generation === this.#generation) return known.client;
    const client = this.#table.get(clientId)?.client ?? null;
    return client === null ? null : this.#sameObject(client);
  }

  /** One object per client and version: callers compare objects to find out whether anything has changed. */
  #sameObject(client: ClientRecord): ClientRecord {
    const known = this.#known.get(client.clientId);
    if (known?.client.versionUs === client.versionUs) {
      known.generation = this.#generation;
      return known.client;
    }
    if (this.#known.size >= MAX_OBJECTS) this.#known.clear();
    this.#known.set(client.clientId, { client, generation: this.#generation });
    return client;
  }

  /** Where the records end that were received; -1: they do not add up. */
  #decode(records: string): number {
    if (Buffer.byteLength(records, 'base64') > CLIENTS_PART_BYTES) return -1;
    const end = this.#received.write(records, 'base64');
    return areRecords(this.#received, end) ? end : -1;
  }

  #merge(table: ClientTable, end: number): void {
    for (let at = 0; at < end; at += lengthAt(this.#received, at)) table.merge(this.#received, at);
  }
}
