/**
 * The primary's table of all clients and API keys, kept true to the database. Its listener (primary/clients/directory-streams.ts)
 * decides which worker is told, and when.
 *
 * From the first load on the feed keeps one table, because readers may be in the middle of a shard. A later load reads into a
 * second table, and then changes the first one record by record until both are equal.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CLIENTS_PART_BYTES } from '../contract/messages.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { Row } from '../infra/postgres/postgres.ts';
import type { ApiKeySecret } from './api-key-secret.ts';
import { ChangeLoop, type ChangeLoopOptions } from './change-loop.ts';
import { TOMBSTONE_DAYS } from './client-directory.ts';
import { DirectoryReader, packRow } from './directory-reader.ts';
import { isApiKeyAt, isTombstoneAt, RecordPacker, unpackApiKey } from './packed-record.ts';
import { RecordTable, SHARDS } from './record-table.ts';

export interface DirectoryFeedOptions extends ChangeLoopOptions {
  secret: ApiKeySecret;
}

/** What has changed. Empty for the first load: everything must be read from the table. */
export interface DirectoryChange {
  /** Packed, at most CLIENTS_PART_BYTES; good until the listener returns. */
  records: Buffer;
  /** The shards that they are in; may name one more than once. */
  shards: readonly number[];
}

/** How long work on all shards holds the event loop before other work has its turn. */
const SLICE_MS = 5;
const NO_CHANGE: DirectoryChange = { records: Buffer.alloc(0), shards: [] };

export class DirectoryFeed extends ChangeLoop {
  readonly #secret: ApiKeySecret;
  readonly #logger: Logger;
  readonly #reader: DirectoryReader;
  readonly #stopWatch: () => void;
  readonly #listeners = new Set<(change: DirectoryChange) => void>();
  readonly #packer = new RecordPacker();
  /** The next message's records, and their shards. */
  readonly #part = Buffer.allocUnsafeSlow(CLIENTS_PART_BYTES);
  #end = 0;
  #shards: number[] = [];
  #table = new RecordTable();
  /** An API key under another secret was read since the last warning. */
  #foreignSeen = false;

  constructor(options: DirectoryFeedOptions) {
    super(options);
    this.#secret = options.secret;
    this.#logger = options.logger;
    this.#reader = new DirectoryReader(options.database);
    this.#stopWatch = this.#secret.onChange(() => void this.#lookForForeignKeys());
  }

  /** For reading only. From the first load on it stays the same object. */
  get table(): RecordTable {
    return this.#table;
  }

  /** startEmpty is for a database that was never used: nobody is known, and nothing is asked. `start` may follow. */
  startEmpty(): void {
    this.noteLoaded();
    this.#emit(NO_CHANGE);
  }

  /** onChange hands every further change to a listener, after it was made to `table`. Synchronous. */
  onChange(listener: (change: DirectoryChange) => void): void {
    this.#listeners.add(listener);
  }

  override close(): Promise<void> {
    this.#stopWatch();
    return super.close();
  }

  protected async load(): Promise<string> {
    const fresh = new RecordTable();
    const snapshot = await this.#reader.loadAll((rows) => {
      for (const row of rows) fresh.put(this.#pack(row), 0);
    });
    if (this.loaded) await this.#become(fresh);
    else {
      this.#table = fresh;
      this.noteLoaded();
      this.#emit(NO_CHANGE);
    }
    this.#warnOfForeignKeys();
    return snapshot;
  }

  protected async readChanges(snapshot: string): Promise<string | null> {
    const next = await this.#reader.changesSince(snapshot, (rows) => {
      for (const row of rows) this.#take(this.#pack(row));
      this.#flush();
    });
    this.#warnOfForeignKeys();
    return next;
  }

  protected async sweep(): Promise<void> {
    const beforeUs = await this.#reader.dropTombstones(TOMBSTONE_DAYS);
    await eachShard(() => this.#table.forgetSome(beforeUs));
  }

  #pack(row: Row): Buffer {
    if (row.kind === 'key' && row.secret_id !== this.#secret.current?.id) this.#foreignSeen = true;
    return packRow(this.#packer, row);
  }

  /** Puts a record into the table and, if it is new there, into the next message. */
  #take(record: Buffer): void {
    const shard = this.#table.put(record, 0);
    if (shard === -1) return;
    if (this.#end + record.length > this.#part.length) this.#flush();
    this.#end += record.copy(this.#part, this.#end);
    this.#shards.push(shard);
  }

  #flush(): void {
    if (this.#end > 0) this.#emit({ records: this.#part.subarray(0, this.#end), shards: this.#shards });
    this.#end = 0;
    this.#shards = [];
  }

  /** Works for any database, e.g. a restored backup: what `fresh` lacks gets a tombstone. */
  async #become(fresh: RecordTable): Promise<void> {
    const nowUs = Date.now() * 1000;
    await eachShard((shard) => {
      for (const record of fresh.records(shard)) this.#take(record);
      // Tombstones are not missed: another machine may have swept them.
      const missing = [...this.#table.records(shard)]
        .filter((record) => !isTombstoneAt(record, 0) && !fresh.has(record, 0))
        // The shard is about to change.
        .map((record) => Buffer.from(record));
      for (const record of missing) this.#take(this.#packer.tombstoneOf(record, 0, nowUs));
    });
    this.#flush();
  }

  /** Called when the secret has changed: other keys are foreign now. */
  async #lookForForeignKeys(): Promise<void> {
    await eachShard((shard) => {
      const id = this.#secret.current?.id;
      for (const record of this.#table.records(shard))
        if (isApiKeyAt(record, 0) && (unpackApiKey(record, 0)?.secretId ?? id) !== id)
          this.#foreignSeen = true;
    });
    this.#warnOfForeignKeys();
  }

  /** Keys under another secret are refused here, and only the log can say why. */
  #warnOfForeignKeys(): void {
    if (!this.#foreignSeen) return;
    this.#foreignSeen = false;
    // The file is read when the first key is. If that changes the secret, onChange looks at the keys again.
    if (this.#secret.refresh()) return;
    this.#logger.warn(
      { secret: this.#secret.source },
      'some API keys were issued under another secret than this machine has: they are refused here. Set secrets.apiKeys to the same on all machines',
    );
  }

  #emit(change: DirectoryChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** Works on one shard after the other, with pauses for other work of this process. */
async function eachShard(work: (shard: number) => void): Promise<void> {
  let sinceMs = performance.now();
  for (let shard = 0; shard < SHARDS; shard++) {
    work(shard);
    if (performance.now() - sinceMs < SLICE_MS) continue;
    await nextTurn();
    sinceMs = performance.now();
  }
}
