/**
 * The primary's picture of all clients, kept true to the database: what workers are told, and what new ones are told of
 * everything. How and when they are told is the business of whoever listens (primary/client-streams.ts).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CLIENTS_PART_BYTES } from '../contract/messages.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { TOMBSTONE_DAYS } from './client-directory.ts';
import { CLIENTS_CHANNEL, type ClientRepository, type PartFn } from './client-repository.ts';
import { ClientTable, SHARDS } from './client-table.ts';
import { ClientPacker, isTombstoneAt, lengthAt, versionAt } from './packed-client.ts';
import { type FollowedTable, TableFollower, type TableFollowerOptions } from './table-follower.ts';

export interface ClientFeedOptions extends TableFollowerOptions {
  repository: ClientRepository;
}

/** What happened to the picture. */
export type ClientsChange =
  /** It is another one, by no way from the one before: the first, or that of a database whose past is another. */
  | { kind: 'replaced' }
  | {
      kind: 'changed';
      /** Packed, at most CLIENTS_PART_BYTES; good until the listener returns. */
      records: Buffer;
      /** The shards that they are in; may name one more than once. */
      shards: readonly number[];
    };

/** Work on all shards pauses so often, for whoever else waits for this process. */
const SLICE_MS = 5;

export class ClientFeed implements FollowedTable {
  readonly channel = CLIENTS_CHANNEL;
  readonly what = 'clients';
  readonly #repository: ClientRepository;
  readonly #logger: Logger;
  readonly #follower: TableFollower;
  readonly #listeners = new Set<(change: ClientsChange) => void>();
  readonly #packer = new ClientPacker();
  readonly #changes = new ChangeBuffer((change) => this.#emit(change));
  #table = new ClientTable();
  #version = 0;

  constructor(options: ClientFeedOptions) {
    this.#repository = options.repository;
    this.#logger = options.logger;
    this.#follower = new TableFollower(this, options);
    this.#repository.onWrite(() => this.#follower.wake());
  }

  /** true until the first load and while the database is away or does not fit: for /readyz. */
  get degraded(): boolean {
    return this.#follower.degraded;
  }

  /** Raised with every change that is passed on; 0: nothing was loaded yet. */
  get version(): number {
    return this.#version;
  }

  get clientCount(): number {
    return this.#table.clientCount;
  }

  /** The picture itself, to be read; another one after a change of kind `replaced`. */
  get table(): ClientTable {
    return this.#table;
  }

  /** start begins to load and follow, until close. */
  start(): void {
    this.#follower.start();
  }

  /** waitForFirstLoad is true once everything was loaded, false when that took longer. */
  waitForFirstLoad(timeoutMs: number): Promise<boolean> {
    return this.#follower.waitForFirstLoad(timeoutMs);
  }

  /** close stops following; the database stays open. */
  close(): Promise<void> {
    return this.#follower.close();
  }

  /** onChange hands every further change to a listener, after it was made to `table`. Synchronous. */
  onChange(listener: (change: ClientsChange) => void): void {
    this.#listeners.add(listener);
  }

  async load(): Promise<string> {
    const fresh = new ClientTable();
    const horizon = await this.#repository.loadAll(this.#into(fresh, () => undefined));
    if (this.#version > 0 && (await isContinued(this.#table, fresh))) {
      await this.#advanceTo(fresh);
      return horizon;
    }
    this.#table = fresh;
    this.#logger.debug({ clients: fresh.clientCount }, 'the directory of clients is a new one');
    this.#emit({ kind: 'replaced' });
    return horizon;
  }

  readChanges(since: string): Promise<string> {
    const merge = this.#into(this.#table, (record, shard) => this.#changes.add(record, 0, shard));
    return this.#repository.changesSince(since, (clients, tombstones) => {
      merge(clients, tombstones);
      this.#changes.flush();
    });
  }

  async sweep(): Promise<void> {
    const beforeUs = await this.#repository.dropTombstones(TOMBSTONE_DAYS);
    const rest = new Rest();
    for (let i = 0; i < SHARDS; i++) {
      this.#table.forgetSome(beforeUs);
      await rest.takeIfDue();
    }
  }

  #into(table: ClientTable, onTaken: (record: Buffer, shard: number) => void): PartFn {
    const merge = (record: Buffer): void => {
      const shard = table.merge(record, 0);
      if (shard !== -1) onTaken(record, shard);
    };
    return (clients, tombstones) => {
      for (const client of clients) merge(this.#packer.client(client));
      for (const { clientId, versionUs } of tombstones) merge(this.#packer.tombstone(clientId, versionUs));
    };
  }

  /** A load mostly finds what was known and little more: the difference is told, and no worker has to forget anything. */
  async #advanceTo(fresh: ClientTable): Promise<void> {
    const known = this.#table;
    this.#table = fresh;
    const rest = new Rest();
    for (let shard = 0; shard < SHARDS; shard++) {
      for (const { bytes, at } of fresh.records(shard)) {
        if (versionAt(bytes, at) > known.versionOf(bytes, at)) this.#changes.add(bytes, at, shard);
      }
      await rest.takeIfDue();
    }
    this.#changes.flush();
  }

  #emit(change: ClientsChange): void {
    this.#version++;
    for (const listener of this.#listeners) listener(change);
  }
}

/** Gathers records that were taken until a message is full. */
class ChangeBuffer {
  readonly #onChange: (change: ClientsChange) => void;
  readonly #bytes = Buffer.allocUnsafeSlow(CLIENTS_PART_BYTES);
  #end = 0;
  #shards: number[] = [];

  constructor(onChange: (change: ClientsChange) => void) {
    this.#onChange = onChange;
  }

  add(record: Buffer, from: number, shard: number): void {
    const length = lengthAt(record, from);
    if (this.#end + length > this.#bytes.length) this.flush();
    this.#end += record.copy(this.#bytes, this.#end, from, from + length);
    this.#shards.push(shard);
  }

  flush(): void {
    if (this.#end === 0) return;
    const [records, shards] = [this.#bytes.subarray(0, this.#end), this.#shards];
    this.#end = 0;
    this.#shards = [];
    this.#onChange({ kind: 'changed', records, shards });
  }
}

/** A pause every few milliseconds of work. */
class Rest {
  #sinceMs = performance.now();

  async takeIfDue(): Promise<void> {
    if (performance.now() - this.#sinceMs < SLICE_MS) return;
    await nextTurn();
    this.#sinceMs = performance.now();
  }
}

/**
 * Whether all that is known is there still, or in a newer version. Where versions have gone back or clients vanished without
 * a tombstone (a restored backup, another server) nothing less than everything makes workers forget.
 */
async function isContinued(known: ClientTable, fresh: ClientTable): Promise<boolean> {
  const rest = new Rest();
  for (let shard = 0; shard < SHARDS; shard++) {
    for (const { bytes, at } of known.records(shard)) {
      const now = fresh.versionOf(bytes, at);
      // A tombstone may have been swept by another machine: it is gone from the table and matters no more.
      const isSwept = now === 0 && isTombstoneAt(bytes, at);
      if (now < versionAt(bytes, at) && !isSwept) return false;
    }
    await rest.takeIfDue();
  }
  return true;
}
