/** A worker's connection to the store: delays, loss, partitions and cuts. */
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';
import { LbError } from '../../../src/contract/errors.ts';
import type { BucketStore } from '../../../src/limit/store/bucket-store.ts';
import type { Pending } from '../../../src/limit/store/deadline-queue.ts';
import type { Random } from '../../fuzz/random.ts';
import type { SimStore } from './sim-store.ts';
import type { VirtualTime } from './virtual-time.ts';

/** One-way delays. */
export interface Weather {
  minMs: number;
  maxMs: number;
  /** Whether replies and requests of one connection keep their order, as on TCP. */
  inOrder: boolean;
  /** Percentage of messages that are lost. */
  lostRequests: number;
  lostReplies: number;
  /** Percentage of messages that take slowMs longer. */
  slow: number;
  slowMs: number;
}

/** When the client gives up a silent connection. */
const SOCKET_TIMEOUT_MS = 1_500;
const RECONNECT_MS = 50;

export interface LinkEvents {
  sent(takes: readonly TakeRequest[]): void;
  /** The store has executed a batch. */
  executed(batch: Batch): void;
  delivered(batch: Batch): void;
}

export interface Batch {
  takes: readonly TakeRequest[];
  results: readonly (TakeReply | Error)[];
  executedMs: number;
  /** Sequence number of its first take at the store: the order in which tokens left the bucket. */
  order: number;
  sentMs: number;
}

interface LinkOptions {
  time: VirtualTime;
  store: SimStore;
  random: Random;
  weather: () => Weather;
  /** Runs the worker's handling of a message in its event loop. */
  loop: (fn: () => void) => void;
  events: LinkEvents;
}

/** A batch that the worker has sent. */
interface Sent {
  takes: readonly TakeRequest[];
  /** Settled when the worker has given it up. */
  call: Readonly<Pending>;
  resolve: (results: (TakeReply | Error)[]) => void;
  reject: (error: Error) => void;
}

export class Link implements BucketStore {
  readonly kind = 'redis';
  readonly #options: LinkOptions;
  #connected = true;
  /** Number of the connection: messages on earlier ones are lost. */
  #connection = 0;
  readonly #open = new Set<Sent>();
  #partitioned = false;
  /** true: messages arrive after the partition, as TCP retransmits them; false: they are lost. */
  #keeps = false;
  #kept: (() => void)[] = [];
  /** Arrival time of the last message in each direction. */
  readonly #lastMs = { request: 0, reply: 0 };

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get available(): boolean {
    return this.#connected;
  }

  takeBatch(takes: readonly TakeRequest[], call: Readonly<Pending>): Promise<(TakeReply | Error)[]> {
    const { promise, resolve, reject } = Promise.withResolvers<(TakeReply | Error)[]>();
    const sent = { takes, call, resolve, reject };
    if (!this.#connected) reject(new LbError('store_unavailable', 'the simulated connection is down'));
    else {
      this.#open.add(sent);
      this.#options.events.sent(takes);
      this.#request(sent);
    }
    return promise;
  }

  /** cut breaks the connection. Waiting calls fail at once, whether or not the store has executed the take. */
  cut(forMs: number): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#connection++;
    const error = new LbError('store_unavailable', 'the simulated connection broke');
    for (const { reject } of this.#open) this.#options.loop(() => reject(error));
    this.#open.clear();
    this.#reconnect(forMs);
  }

  /** partition drops messages; with `keeps` they arrive after it. */
  partition(keeps: boolean): void {
    if (this.#partitioned) return;
    this.#partitioned = true;
    this.#keeps = keeps;
    const connection = this.#connection;
    this.#options.time.after(SOCKET_TIMEOUT_MS, () => {
      if (this.#partitioned && connection === this.#connection) this.cut(RECONNECT_MS);
    });
  }

  heal(): void {
    this.#partitioned = false;
    for (const travel of this.#kept.splice(0)) travel();
  }

  #reconnect(afterMs: number): void {
    this.#options.time.after(afterMs, () => {
      if (this.#partitioned) this.#reconnect(RECONNECT_MS);
      else this.#connected = true;
    });
  }

  #request(sent: Sent): void {
    const { time, store, random, weather, events } = this.#options;
    const connection = this.#connection;
    const { incarnation } = store;
    const sentMs = time.nowMs;
    if (random.below(100) < weather().lostRequests) return;
    this.#travel('request', () => {
      if (incarnation !== store.incarnation) return;
      // Messages on the wire when the connection broke may have reached the store.
      if (connection !== this.#connection && random.oneIn(2)) return;
      store.receive(() => {
        const { takes } = sent;
        const order = store.executions;
        const batch = { takes, results: store.execute(takes), executedMs: time.nowMs, order, sentMs };
        events.executed(batch);
        if (connection === this.#connection) this.#reply(sent, batch);
      });
    });
  }

  #reply(sent: Sent, batch: Batch): void {
    const { random, weather, events, loop } = this.#options;
    const connection = this.#connection;
    if (random.below(100) < weather().lostReplies) return;
    this.#travel('reply', () => {
      if (connection !== this.#connection) return;
      loop(() => {
        // The limiter ignores replies to calls that it has given up.
        this.#open.delete(sent);
        if (sent.call.settled) return;
        events.delivered(batch);
        sent.resolve([...batch.results]);
      });
    });
  }

  #travel(way: 'request' | 'reply', arrive: () => void): void {
    if (this.#partitioned) {
      this.#keep(() => this.#travel(way, arrive));
      return;
    }
    const { time, random, weather } = this.#options;
    const { minMs, maxMs, inOrder, slow, slowMs } = weather();
    const delayMs = minMs + (random.below(1_000_001) / 1_000_000) * (maxMs - minMs);
    const lateMs = random.below(100) < slow ? slowMs : 0;
    const atMs = Math.max(inOrder ? this.#lastMs[way] : 0, time.nowMs + delayMs + lateMs);
    this.#lastMs[way] = atMs;
    const arrives = () => {
      if (this.#partitioned) this.#keep(() => this.#travel(way, arrive));
      else arrive();
    };
    // At the store nobody waits for a promise.
    if (way === 'request') time.atQuietly(atMs, arrives);
    else time.at(atMs, arrives);
  }

  #keep(travel: () => void): void {
    if (this.#keeps) this.#kept.push(travel);
  }
}
