/** The primary's picture of all API keys, kept true to the database; src/primary/clients/key-streams.ts tells workers. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ApiKeyRecord } from '../contract/clients.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { API_KEYS_CHANNEL, type ApiKeyRepository, type StoredKey } from './api-key-repository.ts';
import type { ApiKeySecret } from './api-key-secret.ts';
import { DigestMap } from './digest-map.ts';
import { type FollowedTable, TableFollower, type TableFollowerOptions } from './table-follower.ts';

export interface ApiKeyFeedOptions extends TableFollowerOptions {
  repository: ApiKeyRepository;
  secret: ApiKeySecret;
}

/** Keys of one IPC message: about 90 KB, 5 ms of work for a worker. */
export const PART_KEYS = 1_000;
/** As long as a client's; see ApiKeyRepository.dropTombstones. */
const TOMBSTONE_DAYS = 31;

/** More news at once than this, and reading everything anew is no dearer. */
const MAX_NEWS = 50_000;
/** Of the picture, in one turn of the loop. */
const TURN_KEYS = 10_000;

/** What listeners hear: what is new and what is gone (digests), or that everything is to be read anew. */
export type ApiKeysChange =
  | { kind: 'changed'; upserts: ApiKeyRecord[]; removed: string[] }
  | { kind: 'replaced' };

type Known = Pick<StoredKey, 'clientId' | 'secretId'>;

export class ApiKeyFeed implements FollowedTable {
  readonly channel = API_KEYS_CHANNEL;
  readonly what = 'API keys';
  readonly #repository: ApiKeyRepository;
  readonly #secret: ApiKeySecret;
  readonly #logger: Logger;
  readonly #follower: TableFollower;
  readonly #listeners = new Set<(change: ApiKeysChange) => void>();
  /** By digest. */
  readonly #keys = new DigestMap<Known>();
  /** What is in the picture and was not told yet: of a load that is under way, or that failed on its way. */
  #news = new News();

  constructor(options: ApiKeyFeedOptions) {
    this.#repository = options.repository;
    this.#secret = options.secret;
    this.#logger = options.logger;
    this.#follower = new TableFollower(this, options);
    this.#repository.onWrite(() => this.#follower.wake());
    this.#secret.onChange(() => {
      this.#emit({ kind: 'replaced' });
      this.#warnOfForeign(this.#keys.values());
    });
  }

  /** true until the first load and while the database is away or does not fit. */
  get degraded(): boolean {
    return this.#follower.degraded;
  }

  get keyCount(): number {
    return this.#keys.size;
  }

  /** start begins to load and follow, until close; called when the settings ask for keys, a second call does nothing. */
  start(): void {
    this.#follower.start();
  }

  /** waitForFirstLoad is true once all keys were loaded, false when that took longer. */
  waitForFirstLoad(timeoutMs: number): Promise<boolean> {
    return this.#follower.waitForFirstLoad(timeoutMs);
  }

  close(): Promise<void> {
    return this.#follower.close();
  }

  /** onChange hands every further change to a listener, as it happens. Synchronous. */
  onChange(listener: (change: ApiKeysChange) => void): void {
    this.#listeners.add(listener);
  }

  /** What digests are made with; null: this machine has no secret and accepts no key. */
  get secret(): string | null {
    return this.#secret.current?.text ?? null;
  }

  /** records reads the picture, also while it changes: what is gone does not come any more, what is new may come or not. */
  *records(): Generator<ApiKeyRecord, undefined> {
    for (const [digest, { clientId }] of this.#keys.entries()) yield { digest, clientId };
    return undefined;
  }

  async load(): Promise<string> {
    const seen = new DigestMap<true>();
    const horizon = await this.#repository.loadAll((keys) => {
      for (const key of keys) {
        seen.set(key.digest, true);
        this.#learn(key);
      }
    });
    let count = 0;
    for (const [digest] of this.#keys.entries()) {
      if (seen.get(digest) === undefined) this.#forget(digest);
      if (++count % TURN_KEYS === 0) await nextTurn();
    }
    this.#tell();
    return horizon;
  }

  async readChanges(since: string): Promise<string | null> {
    const changes = await this.#repository.changesSince(since);
    if (changes === null) return null;
    for (const key of changes.keys) this.#learn(key);
    for (const digest of changes.removed) this.#forget(digest);
    this.#tell();
    return changes.horizon;
  }

  sweep(): Promise<void> {
    return this.#repository.dropTombstones(TOMBSTONE_DAYS);
  }

  /** Of what the database says, only what is news goes on. */
  #learn({ digest, clientId, secretId }: StoredKey): void {
    const known = this.#keys.get(digest);
    this.#keys.set(digest, { clientId, secretId });
    if (known?.clientId !== clientId) this.#news.upsert({ digest, clientId });
    if (known?.secretId !== secretId && secretId !== this.#secret.current?.id) this.#news.foreign = true;
  }

  #forget(digest: string): void {
    if (this.#keys.delete(digest)) this.#news.remove(digest);
  }

  #tell(): void {
    const news = this.#news;
    if (news.count === 0) return;
    this.#news = new News();
    this.#emit(news.count > MAX_NEWS ? { kind: 'replaced' } : news.change);
    if (news.foreign) this.#warnOfForeign(this.#keys.values());
  }

  /** Keys of another secret prove nothing here, and without a word nobody would find out why. */
  #warnOfForeign(keys: Iterable<Known>): void {
    if (!this.#hasForeign(keys)) return;
    // Another process of this machine may have made the secret with the key.
    this.#secret.refresh();
    if (!this.#hasForeign(this.#keys.values())) return;
    this.#logger.warn(
      'some API keys were issued under another secret than secrets.apiKeys: they are refused here',
    );
  }

  #hasForeign(keys: Iterable<Known>): boolean {
    const id = this.#secret.current?.id;
    for (const { secretId } of keys) if (secretId !== id) return true;
    return false;
  }

  #emit(change: ApiKeysChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** What was learned and not told: bounded, since beyond MAX_NEWS only the count matters. */
class News {
  count = 0;
  /** A key among it is of another secret. */
  foreign = false;
  /** By digest; null: gone. The last word counts. */
  readonly #clients = new Map<string, string | null>();

  upsert({ digest, clientId }: ApiKeyRecord): void {
    this.#add(digest, clientId);
  }

  remove(digest: string): void {
    this.#add(digest, null);
  }

  get change(): ApiKeysChange {
    const upserts: ApiKeyRecord[] = [];
    const removed: string[] = [];
    for (const [digest, clientId] of this.#clients) {
      if (clientId === null) removed.push(digest);
      else upserts.push({ digest, clientId });
    }
    return { kind: 'changed', upserts, removed };
  }

  #add(digest: string, clientId: string | null): void {
    this.count++;
    if (this.count <= MAX_NEWS) this.#clients.set(digest, clientId);
    else this.#clients.clear();
  }
}
