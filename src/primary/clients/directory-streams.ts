/**
 * Tells workers who the clients are and which API keys they have: everything to a new worker, then every change. Nothing is queued,
 * so neither a slow worker nor a flood of changes costs memory. What a worker has not been told is a set of shards of the feed's
 * table, and a shard is read when the worker has room for it. The pipe to a worker keeps the order: the last message wins.
 *
 * States of a stream:
 * - silent: nothing was loaded yet. The first load leads to gathering.
 * - gathering: all shards are sent, changes as well. The worker answers from none of it until the last part, which leads to
 *   following.
 *   Another feed (follow) leads back to it: the worker answers from what it has until it has all of that.
 * - following: a change is sent at once or, while the worker has too much to acknowledge, its shards are sent again later. The
 *   acknowledgement of the last part leads to informed, in which the same goes on.
 */
import type { DirectoryChange, DirectoryFeed } from '../../clients/directory-feed.ts';
import { SHARDS, type ShardCursor } from '../../clients/record-table.ts';
import { CLIENTS_PART_BYTES, type PrimaryMessage, type WorkerMessage } from '../../contract/messages.ts';

/** What is streamed: of a DirectoryFeed. */
export type StreamedFeed = Pick<DirectoryFeed, 'table' | 'loaded' | 'onChange'>;

/** What a stream needs of a WorkerLink. */
export interface StreamLink {
  /** Number of the worker's slot. */
  readonly index: number;
  send(message: PrimaryMessage): void;
  onMessage(listener: (message: WorkerMessage) => void): () => void;
  readonly exited: Promise<unknown>;
}

/** Unacknowledged bytes above which no shard is sent: what a worker takes in within one turn of its loop. */
const MAX_SHARD_BYTES = 4 * CLIENTS_PART_BYTES;
/** The same for changes, which do not wait behind shards. */
export const MAX_UNACKNOWLEDGED_BYTES = 16 * CLIENTS_PART_BYTES;
/** How long shards may hold one turn of this process's loop. */
const TURN_MS = 5;

export class DirectoryStreams {
  #feed: StreamedFeed;
  readonly #streams = new Map<StreamLink, Stream>();
  #turnDue = false;

  constructor(feed: StreamedFeed) {
    this.#feed = feed;
    this.follow(feed);
  }

  /** follow tells every worker all of another feed, of which it knows everything at once when it has got it. */
  follow(feed: StreamedFeed): void {
    this.#feed = feed;
    feed.onChange((change) => {
      if (feed === this.#feed) this.#pass(change);
    });
    for (const stream of this.#streams.values()) stream.follow(feed);
    this.#scheduleTurn();
  }

  /**
   * attach begins to tell a worker everything and goes on until it exits; called once per worker.
   *
   * @returns resolves once the worker knows everybody (true), or has exited before (false)
   */
  attach(link: StreamLink): Promise<boolean> {
    const stream = new Stream(link, this.#feed);
    this.#streams.set(link, stream);
    link.onMessage((message) => {
      if (message.type === 'ready') stream.hasServed = true;
      if (message.type !== 'clients-applied') return;
      stream.acknowledge(message.part);
      this.#scheduleTurn();
    });
    void link.exited.then(() => {
      this.#streams.delete(link);
      stream.end();
    });
    if (this.#feed.loaded) stream.gather();
    this.#scheduleTurn();
    return stream.informed.promise;
  }

  /** allTold resolves once every worker of this moment has acknowledged all that the table holds now. It may never. */
  async allTold(): Promise<void> {
    await Promise.all([...this.#streams.values()].map((stream) => stream.told()));
  }

  /** untold lists the numbers of the workers that have not, or of all of them, that serve or drain: one that starts has no requests. */
  untold({ all }: { all: boolean }): number[] {
    const late = [...this.#streams].filter(([, stream]) => stream.hasServed && (all || !stream.isTold));
    // During a replacement two have the same number.
    return [...new Set(late.map(([link]) => link.index))].sort((a, b) => a - b);
  }

  sendAll(message: PrimaryMessage): void {
    for (const link of this.#streams.keys()) link.send(message);
  }

  /** Whether a worker has had everything once. */
  knows(link: StreamLink): boolean {
    return this.#streams.get(link)?.isInformed === true;
  }

  #pass({ records, shards }: DirectoryChange): void {
    const text = records.toString('base64');
    for (const stream of this.#streams.values()) stream.pass(text, records.length, shards);
    this.#scheduleTurn();
  }

  #scheduleTurn(): void {
    if (this.#turnDue) return;
    this.#turnDue = true;
    setImmediate(() => this.#turn());
  }

  /** Sends one part to each worker in turn, so that a hundred workers hold the loop no longer than one. */
  #turn(): void {
    this.#turnDue = false;
    const endsAtMs = performance.now() + TURN_MS;
    let sent = true;
    while (sent) {
      sent = false;
      for (const stream of this.#streams.values()) {
        if (!stream.sendPart()) continue;
        sent = true;
        if (performance.now() < endsAtMs) continue;
        this.#scheduleTurn();
        return;
      }
    }
  }
}

/** Holds the part that is being made. */
const buffer = Buffer.allocUnsafeSlow(CLIENTS_PART_BYTES);

class Stream {
  readonly #link: StreamLink;
  #feed: StreamedFeed;
  readonly informed = Promise.withResolvers<boolean>();
  /** Whether the worker has had everything once. */
  isInformed = false;
  /** Whether the worker has begun to serve. */
  hasServed = false;
  state: 'silent' | 'gathering' | 'following' | 'informed' = 'silent';
  /** Whether the next part is the first of a set. */
  #begins = false;
  /** 1 for each shard of which the worker does not know the newest state. */
  readonly #untold = new Uint8Array(SHARDS);
  #untoldCount = 0;
  #shard = 0;
  #cursor: ShardCursor = { slot: 0, layout: -1 };
  #partCount = 0;
  /** Oldest first. */
  #unacknowledged: { part: number; bytes: number; complete: boolean }[] = [];
  #unacknowledgedBytes = 0;
  /** Each waits until nothing is untold or unacknowledged. */
  #waiters: (() => void)[] = [];

  constructor(link: StreamLink, feed: StreamedFeed) {
    this.#link = link;
    this.#feed = feed;
  }

  /** follow leads to gathering, with the records of another feed. */
  follow(feed: StreamedFeed): void {
    this.#feed = feed;
    for (const sent of this.#unacknowledged) sent.complete = false;
    this.#moveTo(0);
    if (feed.loaded) this.gather();
  }

  /** gather leads to gathering. */
  gather(): void {
    this.state = 'gathering';
    this.#begins = true;
    this.#untold.fill(1);
    this.#untoldCount = SHARDS;
  }

  /** pass sends a change, or marks its shards where there is no room for it. The first load leads to gathering. */
  pass(records: string, bytes: number, shards: readonly number[]): void {
    if (this.state === 'silent') this.gather();
    else if (this.#begins) return;
    else if (this.#unacknowledgedBytes + bytes <= MAX_UNACKNOWLEDGED_BYTES) this.#send(records, bytes, false);
    else this.#mark(shards);
  }

  /** sendPart sends the next part of what the worker was not told; false: nothing to send, or no room now. */
  sendPart(): boolean {
    const hasRoom = this.#unacknowledgedBytes + CLIENTS_PART_BYTES <= MAX_SHARD_BYTES;
    if (this.#untoldCount === 0 || !hasRoom) return false;
    const bytes = this.#fill();
    const complete = this.state === 'gathering' && this.#untoldCount === 0;
    if (complete) this.state = 'following';
    this.#send(buffer.toString('base64', 0, bytes), bytes, complete);
    return true;
  }

  acknowledge(part: number): void {
    while ((this.#unacknowledged[0]?.part ?? Number.POSITIVE_INFINITY) <= part) {
      const { bytes = 0, complete = false } = this.#unacknowledged.shift() ?? {};
      this.#unacknowledgedBytes -= bytes;
      if (!complete) continue;
      this.state = 'informed';
      this.isInformed = true;
      this.informed.resolve(true);
    }
    if (this.isTold) for (const resolve of this.#waiters.splice(0)) resolve();
  }

  /** told resolves once the worker has acknowledged everything, or is gone. */
  told(): Promise<void> {
    return this.isTold ? Promise.resolve() : new Promise((resolve) => this.#waiters.push(resolve));
  }

  end(): void {
    this.informed.resolve(false);
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  /** Whether nothing is untold or unacknowledged. */
  get isTold(): boolean {
    return this.state !== 'silent' && this.#untoldCount === 0 && this.#unacknowledged.length === 0;
  }

  #mark(shards: readonly number[]): void {
    for (const shard of shards) {
      if (this.#untold[shard] === 0) this.#untoldCount++;
      this.#untold[shard] = 1;
      // What changed may lie behind the cursor.
      if (shard === this.#shard) this.#moveTo(shard);
    }
  }

  /** Returns how many bytes of records it put into the buffer. */
  #fill(): number {
    let end = 0;
    while (this.#untoldCount > 0) {
      if (this.#untold[this.#shard] === 1) {
        const read = this.#feed.table.read(this.#shard, this.#cursor, buffer, end);
        end = read.end;
        if (!read.done) return end;
        this.#untold[this.#shard] = 0;
        this.#untoldCount--;
      }
      this.#moveTo((this.#shard + 1) % SHARDS);
    }
    return end;
  }

  #moveTo(shard: number): void {
    this.#shard = shard;
    this.#cursor = { slot: 0, layout: -1 };
  }

  #send(records: string, bytes: number, complete: boolean): void {
    this.#partCount++;
    this.#unacknowledged.push({ part: this.#partCount, bytes, complete });
    this.#unacknowledgedBytes += bytes;
    this.#link.send({ type: 'clients', part: this.#partCount, begins: this.#begins, complete, records });
    this.#begins = false;
  }
}
