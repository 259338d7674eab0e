/**
 * Telling workers who the clients are: everything to a new one, then every change. A worker that takes its time, or a flood
 * of changes, must cost neither memory nor the time of anybody else: nothing is queued. What a worker has not been told is
 * a set of shards of the feed's table, and a shard is read when there is room for it on the way.
 *
 * States of a stream:
 * - silent: nothing was loaded yet. The first load leads to gathering.
 * - gathering: all shards are sent as a full set, which the worker keeps aside. Changes meanwhile are sent as well; the
 *   worker merges them into it. The last part leads to following, a replaced picture back to the beginning of gathering.
 * - following: a change is sent at once, or, while the worker has too much to acknowledge, its shards are sent again later.
 */

import type { ClientFeed, ClientsChange } from '../../clients/client-feed.ts';
import { SHARDS, type ShardCursor } from '../../clients/client-table.ts';
import { CLIENTS_PART_BYTES, type PrimaryMessage, type WorkerMessage } from '../../contract/messages.ts';

/** What is streamed: of a ClientFeed. */
export type StreamedFeed = Pick<ClientFeed, 'table' | 'version' | 'onChange' | 'waitForFirstLoad'>;

/** What a stream needs of a WorkerLink. */
export interface StreamLink {
  send(message: PrimaryMessage): void;
  onMessage(listener: (message: WorkerMessage) => void): () => void;
  readonly exited: Promise<unknown>;
}

/** Shards under way to a worker: what it can have to take in within one turn of its loop. */
const MAX_SHARD_BYTES = 4 * CLIENTS_PART_BYTES;
/** The same with changes, which do not wait behind shards. */
export const MAX_UNACKNOWLEDGED_BYTES = 16 * CLIENTS_PART_BYTES;
/** Time that shards may take of a turn of this loop. */
const TURN_MS = 5;

export class ClientStreams {
  readonly #feed: StreamedFeed;
  readonly #streams = new Map<StreamLink, Stream>();
  #turnDue = false;

  constructor(feed: StreamedFeed) {
    this.#feed = feed;
    feed.onChange((change) => this.#pass(change));
  }

  /**
   * attach begins to tell a worker everything and goes on until it exits; called once per worker.
   *
   * @returns resolves once the worker has a full set (true), or has exited before (false)
   */
  attach(link: StreamLink): Promise<boolean> {
    const stream = new Stream(link, this.#feed);
    this.#streams.set(link, stream);
    link.onMessage((message) => {
      if (message.type !== 'clients-applied') return;
      stream.acknowledge(message.part);
      this.#plan();
    });
    void link.exited.then(() => {
      this.#streams.delete(link);
      stream.end();
    });
    if (this.#feed.version > 0) stream.gather();
    this.#plan();
    return stream.informed;
  }

  /** waitFor resolves once a worker has a full set, or is gone, or after timeoutMs. */
  async waitFor(link: StreamLink, timeoutMs: number): Promise<void> {
    await atMost(this.#streams.get(link)?.informed, timeoutMs);
  }

  /** waitForAll resolves once the clients were loaded and every worker of that moment has them, or after timeoutMs. */
  async waitForAll(timeoutMs: number): Promise<void> {
    const all = async (): Promise<void> => {
      await this.#feed.waitForFirstLoad(timeoutMs);
      await Promise.all([...this.#streams.values()].map((stream) => stream.informed));
    };
    await atMost(all(), timeoutMs);
  }

  /** knows tells whether a worker has had a full set. */
  knows(link: StreamLink): boolean {
    return this.#streams.get(link)?.isInformed ?? false;
  }

  #pass(change: ClientsChange): void {
    if (change.kind === 'replaced') {
      for (const stream of this.#streams.values()) stream.gather();
      this.#plan();
      return;
    }
    const text = change.records.toString('base64');
    for (const stream of this.#streams.values()) {
      if (!stream.change(text, change.records.length)) stream.mark(change.shards);
    }
    this.#plan();
  }

  #plan(): void {
    if (this.#turnDue) return;
    this.#turnDue = true;
    setImmediate(() => this.#turn());
  }

  /** One part to each in turn, so that a hundred workers are no longer a stall than one. */
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
        this.#plan();
        return;
      }
    }
  }
}

/** For the part that is being made; parts are made one at a time. */
const buffer = Buffer.allocUnsafeSlow(CLIENTS_PART_BYTES);

type Phase = 'silent' | 'beginning' | 'gathering' | 'following';

class Stream {
  readonly #link: StreamLink;
  readonly #feed: StreamedFeed;
  readonly #informed = Promise.withResolvers<boolean>();
  #phase: Phase = 'silent';
  #isInformed = false;
  /** 1 for every shard that the worker has not been told as it is. */
  readonly #untold = new Uint8Array(SHARDS);
  #untoldCount = 0;
  #shard = 0;
  #cursor: ShardCursor = { slot: 0, layout: -1 };
  #partCount = 0;
  /** Oldest first. */
  #unacknowledged: { part: number; bytes: number; completes: boolean }[] = [];
  #unacknowledgedBytes = 0;

  constructor(link: StreamLink, feed: StreamedFeed) {
    this.#link = link;
    this.#feed = feed;
  }

  get informed(): Promise<boolean> {
    return this.#informed.promise;
  }

  get isInformed(): boolean {
    return this.#isInformed;
  }

  /** gather leads to a full set, whatever was under way. */
  gather(): void {
    this.#phase = 'beginning';
    this.#untold.fill(1);
    this.#untoldCount = SHARDS;
    this.#restart(0);
  }

  /** change sends one, unless its shards will be read all the same or there is no room; false: mark its shards. */
  change(records: string, bytes: number): boolean {
    if (this.#phase === 'silent' || this.#phase === 'beginning') return true;
    if (this.#unacknowledgedBytes + bytes > MAX_UNACKNOWLEDGED_BYTES) return false;
    this.#send({ full: false, first: false, last: false, records }, bytes);
    return true;
  }

  mark(shards: readonly number[]): void {
    for (const shard of shards) {
      if (this.#untold[shard] === 0) this.#untoldCount++;
      this.#untold[shard] = 1;
      // What was read of it already is behind the cursor.
      if (shard === this.#shard) this.#restart(shard);
    }
  }

  /** sendPart sends the next part of what the worker was not told; false: nothing to send, or no room now. */
  sendPart(): boolean {
    const isGathering = this.#phase === 'beginning' || this.#phase === 'gathering';
    const hasRoom = this.#unacknowledgedBytes + CLIENTS_PART_BYTES <= MAX_SHARD_BYTES;
    if (this.#untoldCount === 0 || !hasRoom) return false;
    const bytes = this.#fill();
    const first = this.#phase === 'beginning';
    const last = isGathering && this.#untoldCount === 0;
    this.#send({ full: isGathering, first, last, records: buffer.toString('base64', 0, bytes) }, bytes);
    if (isGathering) this.#phase = last ? 'following' : 'gathering';
    return true;
  }

  acknowledge(part: number): void {
    while ((this.#unacknowledged[0]?.part ?? Number.POSITIVE_INFINITY) <= part) {
      const { bytes = 0, completes = false } = this.#unacknowledged.shift() ?? {};
      this.#unacknowledgedBytes -= bytes;
      if (!completes) continue;
      this.#isInformed = true;
      this.#informed.resolve(true);
    }
  }

  end(): void {
    this.#informed.resolve(false);
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
      this.#restart((this.#shard + 1) % SHARDS);
    }
    return end;
  }

  #restart(shard: number): void {
    this.#shard = shard;
    this.#cursor = { slot: 0, layout: -1 };
  }

  #send(
    part: Pick<Extract<PrimaryMessage, { type: 'clients' }>, 'full' | 'first' | 'last' | 'records'>,
    bytes: number,
  ): void {
    this.#partCount++;
    this.#unacknowledged.push({ part: this.#partCount, bytes, completes: part.last });
    this.#unacknowledgedBytes += bytes;
    this.#link.send({ type: 'clients', part: this.#partCount, version: this.#feed.version, ...part });
  }
}

/** atMost resolves with `promise`, or after timeoutMs. */
export async function atMost(promise: Promise<unknown> | undefined, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([promise, expired]);
  clearTimeout(timer);
}
