/**
 * Clients and API keys in the memory of a worker. The primary's messages fill it, and the last message wins. Until the first
 * set is complete nobody is known, rather than a few.
 */
import { createSecretKey, type KeyObject } from 'node:crypto';
import {
  type ApiKeyLookup,
  type ApiKeyRefusal,
  type ClientLookup,
  type ClientMatch,
  type ClientRecord,
  matchOfClient,
  matchOfNobody,
  type VerifiedKey,
} from '../contract/clients.ts';
import type { Clock } from '../contract/clock.ts';
import { CLIENTS_PART_BYTES, type PrimaryMessage } from '../contract/messages.ts';
import { digestOf, isApiKey } from './api-key.ts';
import { areRecords, lengthAt } from './packed-record.ts';
import { RecordTable } from './record-table.ts';

export type ClientsMessage = Extract<PrimaryMessage, { type: 'clients' }>;

/** No bucket is older than 30 days, so no older tombstone can matter. */
export const TOMBSTONE_DAYS = 31;
const DAY_US = 86_400_000_000;
/** Clients whose objects are kept. Beyond that number objects are made anew. */
const MAX_OBJECTS = 20_000;

/** A client's object, and the last generation in which it was the newest. */
interface Known {
  client: ClientRecord;
  generation: number;
}

export class ClientDirectory implements ClientLookup, ApiKeyLookup {
  readonly #clock: Clock;
  readonly #received = Buffer.allocUnsafeSlow(CLIENTS_PART_BYTES);
  readonly #known = new Map<string, Known>();
  /** What is answered from. */
  #table = new RecordTable();
  /** What messages go into until their set is complete; null: it is. */
  #gathering: RecordTable | null = new RecordTable();
  #generation = 0;
  #nowSec: number;
  #secret: KeyObject | null = null;

  /** Made once per worker. */
  constructor(clock: Clock) {
    this.#clock = clock;
    this.#nowSec = secOf(clock);
  }

  /** See ClientLookup. 0: the first set is not complete. */
  get generation(): number {
    return this.#generation;
  }

  /** See ClientLookup. */
  get nowSec(): number {
    return this.#nowSec;
  }

  /** See ClientLookup. */
  noteSeen(clientId: string): void {
    this.#table.noteSeen(clientId, this.#nowSec);
    // What it has already it would not take over any more.
    this.#gathering?.noteSeen(clientId, this.#nowSec);
  }

  /** seenSecs is when each client last sent something, in seconds since the epoch; 0: not since this worker began. */
  seenSecs(clientIds: readonly string[]): number[] {
    return clientIds.map((clientId) => this.#table.seenSec(clientId));
  }

  /** What digests are made with; null: this machine has no secret and accepts no key. */
  get secret(): KeyObject | null {
    return this.#secret;
  }

  useSecret(text: string | null): void {
    this.#secret = text === null ? null : createSecretKey(text, 'utf8');
  }

  /** What is answered from; for tests. */
  get table(): RecordTable {
    return this.#table;
  }

  /** apply takes one message. Returns false where these are not records that a primary of this version packs; then it took none. */
  apply({ begins, complete, records }: ClientsMessage): boolean {
    const end = this.#decode(records);
    if (end === -1) return false;
    if (begins) this.#gathering = new RecordTable(this.#table);
    const table = this.#gathering ?? this.#table;
    for (let at = 0; at < end; at += lengthAt(this.#received, at)) table.put(this.#received, at);
    if (complete) {
      this.#gathering = null;
      table.replaceBefore();
      // Another database may know other clients by the same versions.
      this.#known.clear();
    }
    if (this.#gathering !== null) return true;
    this.#table = table;
    this.#generation++;
    return true;
  }

  /** advance renews nowSec, and drops a few of the tombstones that no bucket can need any more; the worker calls it once a second. */
  advance(): void {
    this.#nowSec = secOf(this.#clock);
    this.#table.forgetSome(this.#clock.wallMs() * 1000 - TOMBSTONE_DAYS * DAY_US);
  }

  /** An exact address, then the longest range, then nobody; see ClientLookup. Cost: one look-up per prefix length in use. */
  byAddress(address: string, grouped: string): ClientMatch {
    const found = this.#table.get(address)?.client ?? this.#table.longestRange(address);
    if (found !== null) return matchOfClient(this.#sameObject(found));
    const entry = this.#table.get(grouped);
    return matchOfNobody(grouped, entry?.client === null ? entry : null);
  }

  /** See ApiKeyLookup. */
  byName(clientId: string): ClientRecord | null {
    const known = this.#known.get(clientId);
    if (known?.generation === this.#generation) return known.client;
    const client = this.#table.get(clientId)?.client ?? null;
    return client === null ? null : this.#sameObject(client);
  }

  /**
   * verify costs an HMAC (about 2 µs) for what looks like a key, and next to nothing for anything else.
   *
   * No comparison takes a time that tells anything about a key. What is looked up is the HMAC of what the caller sent, under a
   * secret that callers do not know. How far two digests agree says nothing about how far two keys agree. The limiter's memory of
   * accepted keys is a map by the sent text, and V8 compares only texts whose seeded hashes are equal.
   */
  verify(text: string): VerifiedKey | ApiKeyRefusal {
    if (!isApiKey(text)) return 'malformed';
    if (this.#secret === null) return 'unknown';
    const digest = digestOf(this.#secret, text);
    const clientId = this.byDigest(digest);
    return clientId === null ? 'unknown' : new FoundKey(this, digest, clientId);
  }

  /** byDigest finds the client's id that an API key belongs to, by the digest of the key; null: there is no such key. */
  byDigest(digest: Uint8Array): string | null {
    return this.#table.apiKey(digest)?.clientId ?? null;
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

  /** Returns where the received records end; -1: they are not whole records. */
  #decode(records: string): number {
    if (Buffer.byteLength(records, 'base64') > CLIENTS_PART_BYTES) return -1;
    const end = this.#received.write(records, 'base64');
    return areRecords(this.#received, end) ? end : -1;
  }
}

function secOf(clock: Clock): number {
  return Math.floor(clock.wallMs() / 1000);
}

class FoundKey implements VerifiedKey {
  readonly clientId: string;
  readonly #directory: ClientDirectory;
  readonly #digest: Buffer;
  readonly #secret: KeyObject | null;
  /** The last generation of the directory in which the key was there. */
  #generation: number;

  constructor(directory: ClientDirectory, digest: Buffer, clientId: string) {
    this.clientId = clientId;
    this.#directory = directory;
    this.#digest = digest;
    this.#secret = directory.secret;
    this.#generation = directory.generation;
  }

  /** Also true if the key belongs to another client now, or the secret has changed. Looked up once per generation. */
  get revoked(): boolean {
    const { generation, secret } = this.#directory;
    if (secret !== this.#secret) return true;
    if (this.#generation === generation) return false;
    if (this.#directory.byDigest(this.#digest) !== this.clientId) return true;
    this.#generation = generation;
    return false;
  }
}
