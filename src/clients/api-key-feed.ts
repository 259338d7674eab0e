/** The primary's picture of all API keys, kept true to the database and passed on to workers with the secret. */
import type { ApiKeyRecord } from '../contract/clients.ts';
import type { Logger } from '../infra/logger.ts';
import type { ApiKeysMessage } from './api-key-directory.ts';
import { API_KEYS_CHANNEL, type ApiKeyRepository, type StoredKey } from './api-key-repository.ts';
import type { ApiKeySecret } from './api-key-secret.ts';
import { type FollowedTable, TableFollower, type TableFollowerOptions } from './table-follower.ts';

export interface ApiKeyFeedOptions extends TableFollowerOptions {
  repository: ApiKeyRepository;
  secret: ApiKeySecret;
}

/** Keys of one IPC message: about 90 KB, 5 ms of work for a worker. */
export const PART_KEYS = 1_000;
/** As long as a client's; see ApiKeyRepository.dropTombstones. */
const TOMBSTONE_DAYS = 31;

type Known = Pick<StoredKey, 'clientId' | 'secretId'>;

export class ApiKeyFeed implements FollowedTable {
  readonly channel = API_KEYS_CHANNEL;
  readonly what = 'API keys';
  readonly #repository: ApiKeyRepository;
  readonly #secret: ApiKeySecret;
  readonly #logger: Logger;
  readonly #follower: TableFollower;
  readonly #listeners = new Set<(message: ApiKeysMessage) => void>();
  /** By digest. */
  #keys = new Map<string, Known>();

  constructor(options: ApiKeyFeedOptions) {
    this.#repository = options.repository;
    this.#secret = options.secret;
    this.#logger = options.logger;
    this.#follower = new TableFollower(this, options);
    this.#repository.onWrite(() => this.#follower.wake());
    this.#secret.onChange(() => {
      this.#emit(this.snapshot());
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

  /** onChange hands every further change to a listener, as it happens, in parts. Synchronous. */
  onChange(listener: (message: ApiKeysMessage) => void): void {
    this.#listeners.add(listener);
  }

  /** snapshot is everything known, in parts, for a worker that has just started; onChange continues from it. */
  snapshot(): ApiKeysMessage[] {
    const keys = Array.from(this.#keys, ([digest, { clientId }]) => ({ digest, clientId }));
    return this.#partsOf(keys, [], { full: true });
  }

  async load(): Promise<string> {
    const fresh = new Map<string, Known>();
    const horizon = await this.#repository.loadAll((keys) => {
      for (const { digest, ...known } of keys) fresh.set(digest, known);
    });
    const removed = [...this.#keys.keys()].filter((digest) => !fresh.has(digest));
    this.#merge(
      [...fresh].map(([digest, known]) => ({ digest, ...known })),
      removed,
    );
    return horizon;
  }

  async readChanges(since: string): Promise<string | null> {
    const changes = await this.#repository.changesSince(since);
    if (changes === null) return null;
    this.#merge(changes.keys, changes.removed);
    return changes.horizon;
  }

  sweep(): Promise<void> {
    return this.#repository.dropTombstones(TOMBSTONE_DAYS);
  }

  /** Of what the database says, only what is news goes on. */
  #merge(keys: readonly StoredKey[], removed: readonly string[]): void {
    const fresh = keys.filter(({ digest, clientId }) => this.#keys.get(digest)?.clientId !== clientId);
    const gone = removed.filter((digest) => this.#keys.delete(digest));
    for (const { digest, ...known } of fresh) this.#keys.set(digest, known);
    if (fresh.length === 0 && gone.length === 0) return;
    const upserts = fresh.map(({ digest, clientId }) => ({ digest, clientId }));
    this.#emit(this.#partsOf(upserts, gone, { full: false }));
    this.#warnOfForeign(fresh);
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

  #emit(parts: readonly ApiKeysMessage[]): void {
    for (const part of parts) for (const listener of this.#listeners) listener(part);
  }

  #partsOf(
    upserts: readonly ApiKeyRecord[],
    removed: readonly string[],
    { full }: { full: boolean },
  ): ApiKeysMessage[] {
    const count = Math.max(1, Math.ceil(Math.max(upserts.length, removed.length) / PART_KEYS));
    const secret = this.#secret.current?.text ?? null;
    return Array.from({ length: count }, (_, index) => {
      const from = index * PART_KEYS;
      return {
        type: 'api-keys' as const,
        full,
        first: index === 0,
        last: index === count - 1,
        secret,
        upserts: upserts.slice(from, from + PART_KEYS),
        removed: removed.slice(from, from + PART_KEYS),
      };
    });
  }
}
