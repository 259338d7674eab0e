/**
 * New limits of clients, brought to their buckets as soon as they are heard of. A bucket refills by the limits that it knows,
 * and takes on newer ones with the next take: one that nobody asked after a change would have gone on with the old ones
 * until then, and given what the new ones forbid, or lack what they promise.
 *
 * Nothing hangs on it but the time from which new limits count: every take of a worker brings them too, and the newest win
 * in whatever order they come. So what cannot be brought, because there is too much of it or the store refuses, is left.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DirectoryChange, DirectoryFeed } from '../../clients/directory-feed.ts';
import { clientIdAt, isApiKeyAt, lengthAt } from '../../clients/packed-record.ts';
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { type ClientMatch, matchOfClient, matchOfNobody } from '../../contract/clients.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { limitTakes } from '../../limit/bucket/bucket-peek.ts';
import type { BucketStore } from '../../limit/store/bucket-store.ts';
import type { Revision } from '../reloader.ts';

/** Clients whose change is not told yet. A million changed at once would keep Redis busy for many seconds. */
export const MAX_PENDING_CLIENTS = 20_000;
/** Takes in one call of the store: half a millisecond of Redis. */
const MAX_TAKES = 128;
/** A store that is away is asked again so often. */
const RETRY_MS = 1_000;

interface LimitChangesOptions {
  feed: Pick<DirectoryFeed, 'onChange' | 'table'>;
  store: BucketStore;
  /** The revision in force: its policies name the buckets. */
  current: () => Pick<Revision, 'policyVersionUs'> & { settings: { rateLimit: RateLimitPolicies } };
  logger: Pick<Logger, 'warn' | 'error'>;
}

type RateLimitPolicies = Pick<Revision['settings']['rateLimit'], 'policies'>;

/** LimitChanges is made once by the primary's main, before the feed tells of changes; it works by itself from then on. */
export class LimitChanges {
  readonly #options: LimitChangesOptions;
  /** Their ids; what is to be told of them is looked up when their turn comes. */
  readonly #pending = new Set<string>();
  #telling = 0;
  #running = false;
  #overflowed = false;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: LimitChangesOptions) {
    this.#options = options;
    options.feed.onChange((change) => this.#note(change));
  }

  /** Clients whose change is still to be told, or is being told. */
  get pendingCount(): number {
    return this.#pending.size + this.#telling;
  }

  /** close leaves what is still to be told; the store stays its maker's to close. */
  close(): void {
    this.#closed = true;
    this.#pending.clear();
    clearTimeout(this.#retry);
  }

  #note({ records }: DirectoryChange): void {
    if (this.#closed) return;
    for (let at = 0; at < records.length; at += lengthAt(records, at)) {
      if (isApiKeyAt(records, at)) continue;
      if (this.#pending.size >= MAX_PENDING_CLIENTS) {
        this.#overflow();
        break;
      }
      this.#pending.add(clientIdAt(records, at));
    }
    this.#start();
  }

  #overflow(): void {
    if (this.#overflowed) return;
    this.#overflowed = true;
    this.#options.logger.warn(
      { clients: MAX_PENDING_CLIENTS },
      'more clients changed at once than buckets are told of; the others take on their limits with their next request',
    );
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#run().catch((thrown: unknown) =>
      this.#options.logger.error({ err: toError(thrown) }, 'new limits were not brought to their buckets'),
    );
  }

  async #run(): Promise<void> {
    const { store } = this.#options;
    try {
      while (this.#pending.size > 0) {
        if (!store.available || !(await this.#tellSome())) return this.#startLater();
        // Buckets in memory answer within this turn.
        await nextTurn();
      }
      this.#overflowed = false;
    } finally {
      // Not a turn later: who has changed by then would wait for nobody.
      this.#running = false;
    }
  }

  #startLater(): void {
    if (this.#closed) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#start(), RETRY_MS).unref();
  }

  /** Returns false where the store answered nothing. Whoever got no answer is to be told again, after all others. */
  async #tellSome(): Promise<boolean> {
    const { store, current } = this.#options;
    const { settings, policyVersionUs } = current();
    const { policies } = settings.rateLimit;
    const ids = this.#takeSome(Math.max(1, Math.floor(MAX_TAKES / Math.max(1, policies.length))));
    const takes = ids.map((id) => limitTakes(this.#matchOf(id), policies, policyVersionUs));
    this.#telling = ids.length;
    const answered = await ask(store, takes);
    this.#telling = 0;
    if (!this.#closed) for (const [i, id] of ids.entries()) if (answered[i] === false) this.#pending.add(id);
    return answered.includes(true);
  }

  #takeSome(count: number): string[] {
    const ids: string[] = [];
    for (const id of this.#pending) {
      if (ids.length === count) break;
      ids.push(id);
      this.#pending.delete(id);
    }
    return ids;
  }

  /** Who has the bucket of that name by the newest word: the client, or whoever calls from the address of one that is deleted. */
  #matchOf(id: string): ClientMatch {
    const entry = this.#options.feed.table.get(id);
    return entry?.client ? matchOfClient(entry.client) : matchOfNobody(id, entry);
  }
}

/** Whether the store answered each client's takes; a refusal is an answer. */
async function ask(store: BucketStore, takes: readonly TakeRequest[][]): Promise<boolean[]> {
  if (takes[0]?.length === 0) return takes.map(() => true);
  if (store.sharded === true) {
    return Promise.all(takes.map(async (ofClient) => wasAnswered(await store.takeBatch(ofClient))));
  }
  const answered = wasAnswered(await store.takeBatch(takes.flat()));
  return takes.map(() => answered);
}

function wasAnswered(results: readonly (TakeReply | Error)[]): boolean {
  return !results.some((result) => result instanceof LbError && result.code === 'store_timeout');
}
