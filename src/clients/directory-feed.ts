/**
 * The primary's table of all clients and API keys, kept true to the database. Its listener (primary/clients/directory-streams.ts)
 * decides which worker is told, and when.
 *
 * From the first load on the feed keeps one table, because readers may be in the middle of a shard. A later load reads into a
 * second table, and then changes the first one record by record until both are equal.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CLIENTS_PART_BYTES } from '../contract/messages.ts';
import type { Row } from '../infra/postgres/postgres.ts';
import type { ApiKeySecret } from './api-key-secret.ts';
import { ChangeLoop, type ChangeLoopOptions, type Picture } from './change-loop.ts';
import { TOMBSTONE_DAYS } from './client-directory.ts';
import { DIRECTORY_CHANNELS, DirectoryReader, packRow } from './directory-reader.ts';
import { isApiKeyAt, isTombstoneAt, lengthAt, RecordPacker, unpackApiKey } from './packed-record.ts';
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

/** Work on all shards gives way to other work of this process so often. */
const SLICE_MS = 5;
const NO_CHANGE: DirectoryChange = { records: Buffer.alloc(0), shards: [] };

export class DirectoryFeed implements Picture {
  readonly #options: DirectoryFeedOptions;
  readonly #reader: DirectoryReader;
  readonly #loop: ChangeLoop;
  readonly #listeners = new Set<(change: DirectoryChange) => void>();
  readonly #packer = new RecordPacker();
  readonly #changes = new ChangeBuffer((change) => this.#emit(change));
  #table = new RecordTable();
  #loaded = false;
  /** An API key under another secret was read since the last warning. */
  #foreignSeen = false;

  constructor(options: DirectoryFeedOptions) {
    this.#options = options;
    this.#reader = new DirectoryReader(options.database);
    this.#loop = new ChangeLoop(this, DIRECTORY_CHANNELS, options);
    options.secret.onChange(() => void this.#lookForForeignKeys());
  }

  /** true until the first load and while the database is away or does not fit: for /readyz. */
  get degraded(): boolean {
    return this.#loop.degraded;
  }

  /** Whether the table has been loaded, or is known to be empty. */
  get loaded(): boolean {
    return this.#loaded;
  }

  /** To be read; the same one for ever from the first change on. */
  get table(): RecordTable {
    return this.#table;
  }

  /** start begins to load and follow, until close. */
  start(): void {
    this.#loop.start();
  }

  /** startEmpty is for a database that was never used: nobody is known, and nothing is asked. `start` may follow. */
  startEmpty(): void {
    this.#loop.assumeEmpty();
    this.#loaded = true;
    this.#emit(NO_CHANGE);
  }

  /** waitForFirstLoad is true once everything was loaded, false when that took longer. */
  waitForFirstLoad(timeoutMs: number): Promise<boolean> {
    return this.#loop.waitForFirstLoad(timeoutMs);
  }

  /** caughtUp resolves once all that was committed before the call was read and told to the listeners; it may never. */
  caughtUp(): Promise<void> {
    return this.#loop.caughtUp();
  }

  /** close stops following; the database stays open. */
  close(): Promise<void> {
    return this.#loop.close();
  }

  /** onChange hands every further change to a listener, after it was made to `table`. Synchronous. */
  onChange(listener: (change: DirectoryChange) => void): void {
    this.#listeners.add(listener);
  }

  /** Of Picture. */
  async load(): Promise<string> {
    const fresh = new RecordTable();
    const look = await this.#reader.loadAll((rows) => {
      for (const row of rows) fresh.put(this.#pack(row), 0);
    });
    if (this.#loaded) await this.#become(fresh);
    else {
      this.#table = fresh;
      this.#loaded = true;
      this.#emit(NO_CHANGE);
    }
    this.#warnOfForeignKeys();
    return look;
  }

  /** Of Picture. */
  async readChanges(look: string): Promise<string> {
    const next = await this.#reader.changesSince(look, (rows) => {
      for (const row of rows) this.#take(this.#pack(row), 0);
      this.#changes.flush();
    });
    this.#warnOfForeignKeys();
    return next;
  }

  /** Of Picture. */
  async sweep(): Promise<void> {
    const beforeUs = await this.#reader.dropTombstones(TOMBSTONE_DAYS);
    await eachShard(() => this.#table.forgetSome(beforeUs));
  }

  #pack(row: Row): Buffer {
    if (row.kind === 'key' && row.secret_id !== this.#options.secret.current?.id) this.#foreignSeen = true;
    return packRow(this.#packer, row);
  }

  #take(bytes: Buffer, at: number): void {
    const shard = this.#table.put(bytes, at);
    if (shard !== -1) this.#changes.add(bytes, at, shard);
  }

  /** Works for any database, e.g. a restored backup: what `fresh` lacks gets a tombstone. */
  async #become(fresh: RecordTable): Promise<void> {
    const nowUs = Date.now() * 1000;
    await eachShard((shard) => {
      for (const { bytes, at } of fresh.records(shard)) this.#take(bytes, at);
      for (const record of this.#missingIn(fresh, shard)) {
        this.#take(this.#packer.tombstoneOf(record, 0, nowUs), 0);
      }
    });
    this.#changes.flush();
  }

  /** Returns copies, because the shard is about to change. Tombstones are not missed: another machine may have swept them. */
  #missingIn(fresh: RecordTable, shard: number): Buffer[] {
    const missing: Buffer[] = [];
    for (const { bytes, at } of this.#table.records(shard)) {
      if (isTombstoneAt(bytes, at) || fresh.has(bytes, at)) continue;
      missing.push(Buffer.from(bytes.subarray(at, at + lengthAt(bytes, at))));
    }
    return missing;
  }

  /** Called when the secret has changed: other keys are foreign now. */
  async #lookForForeignKeys(): Promise<void> {
    await eachShard((shard) => {
      const id = this.#options.secret.current?.id;
      for (const { bytes, at } of this.#table.records(shard)) {
        if (isApiKeyAt(bytes, at) && (unpackApiKey(bytes, at)?.secretId ?? id) !== id)
          this.#foreignSeen = true;
      }
    });
    this.#warnOfForeignKeys();
  }

  /** Keys under another secret are refused here, and only the log can say why. */
  #warnOfForeignKeys(): void {
    if (!this.#foreignSeen) return;
    this.#foreignSeen = false;
    const { secret, logger } = this.#options;
    // The file is read when the first key is. If that changes the secret, onChange looks at the keys again.
    if (secret.refresh()) return;
    logger.warn(
      { secret: secret.source },
      'some API keys were issued under another secret than this machine has: they are refused here. Set secrets.apiKeys to the same on all machines',
    );
  }

  #emit(change: DirectoryChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** Gathers records into messages. */
class ChangeBuffer {
  readonly #onChange: (change: DirectoryChange) => void;
  readonly #bytes = Buffer.allocUnsafeSlow(CLIENTS_PART_BYTES);
  #end = 0;
  #shards: number[] = [];

  constructor(onChange: (change: DirectoryChange) => void) {
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
    const change = { records: this.#bytes.subarray(0, this.#end), shards: this.#shards };
    this.#end = 0;
    this.#shards = [];
    this.#onChange(change);
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
