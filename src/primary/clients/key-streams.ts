/**
 * Telling workers which API keys there are: everything to a new one, then every change, a part at a time. The next part leaves
 * when the pipe to the worker has taken the one before, so that a million keys stall neither this loop nor a worker's,
 * and wait nowhere but in the feed's own picture.
 *
 * A full set is read from the picture while it changes. What is new in it meanwhile may be read or not, what is gone is not
 * read any more, and each change is told as well, before the next part of the set: the worker takes it into both.
 */
import type { ApiKeyFeed, ApiKeysChange } from '../../clients/api-key-feed.ts';
import { PART_KEYS } from '../../clients/api-key-feed.ts';
import type { ApiKeyRecord } from '../../contract/clients.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';

/** What is streamed: of an ApiKeyFeed. */
export type StreamedKeys = Pick<ApiKeyFeed, 'records' | 'secret' | 'onChange'>;

/** What a stream needs of a WorkerLink. */
export interface KeyLink {
  send(message: PrimaryMessage, onSent: () => void): void;
  readonly exited: Promise<unknown>;
}

/** Parts of changes that wait for a worker; with more of them a full set is no dearer. */
const MAX_PENDING_PARTS = 64;

type KeysMessage = Extract<PrimaryMessage, { type: 'api-keys' }>;

export class KeyStreams {
  readonly #feed: StreamedKeys;
  readonly #streams = new Map<KeyLink, Stream>();

  constructor(feed: StreamedKeys) {
    this.#feed = feed;
    feed.onChange((change) => {
      for (const stream of this.#streams.values()) stream.pass(change);
    });
  }

  /**
   * attach begins to tell a worker everything and goes on until it exits; called once per worker.
   *
   * @returns resolves once the last part of the full set is on its way, or the worker has exited: what is sent to it from
   *   then on, it hears with all keys known
   */
  attach(link: KeyLink): Promise<void> {
    const stream = new Stream(link, this.#feed);
    this.#streams.set(link, stream);
    void link.exited.then(() => {
      this.#streams.delete(link);
      stream.end();
    });
    stream.begin();
    return stream.told;
  }
}

class Stream {
  readonly #link: KeyLink;
  readonly #feed: StreamedKeys;
  readonly #told = Promise.withResolvers<void>();
  /** The rest of a full set; null: none is under way. */
  #rest: Iterator<ApiKeyRecord> | null = null;
  #first = true;
  #pending: KeysMessage[] = [];
  #busy = false;
  #ended = false;

  constructor(link: KeyLink, feed: StreamedKeys) {
    this.#link = link;
    this.#feed = feed;
  }

  get told(): Promise<void> {
    return this.#told.promise;
  }

  /** begin leads to a full set, whatever was under way. */
  begin(): void {
    this.#rest = this.#feed.records();
    this.#first = true;
    this.#pump();
  }

  pass(change: ApiKeysChange): void {
    const parts = change.kind === 'replaced' ? [] : partsOf(change);
    if (change.kind === 'replaced' || this.#pending.length + parts.length > MAX_PENDING_PARTS) {
      this.#pending = [];
      this.begin();
      return;
    }
    this.#pending.push(...parts);
    this.#pump();
  }

  end(): void {
    this.#ended = true;
    this.#told.resolve();
  }

  #pump(): void {
    if (this.#busy || this.#ended) return;
    const part = this.#pending.shift() ?? this.#nextOfSet();
    if (part === null) return;
    this.#busy = true;
    this.#link.send(part, () => {
      this.#busy = false;
      this.#pump();
    });
    if (part.full && part.last) this.#told.resolve();
  }

  #nextOfSet(): KeysMessage | null {
    const rest = this.#rest;
    if (rest === null) return null;
    const upserts: ApiKeyRecord[] = [];
    // Not one further: it could be gone when the next part is made, and its end told before it.
    while (upserts.length < PART_KEYS) {
      const next = rest.next();
      if (next.done === true) break;
      upserts.push(next.value);
    }
    const first = this.#first;
    const last = upserts.length < PART_KEYS;
    this.#first = false;
    if (last) this.#rest = null;
    return { type: 'api-keys', full: true, first, last, secret: this.#feed.secret, upserts, removed: [] };
  }
}

function partsOf({ upserts, removed }: Extract<ApiKeysChange, { kind: 'changed' }>): KeysMessage[] {
  const count = Math.ceil(Math.max(upserts.length, removed.length) / PART_KEYS);
  return Array.from({ length: count }, (_, index) => {
    const from = index * PART_KEYS;
    return {
      type: 'api-keys',
      full: false,
      first: index === 0,
      last: index === count - 1,
      secret: null,
      upserts: upserts.slice(from, from + PART_KEYS),
      removed: removed.slice(from, from + PART_KEYS),
    };
  });
}
