/**
 * The books of one bucket, kept from outside. After every event:
 *
 * - hold bound: what workers hold on lease, or will when replies arrive, is no more than the store accounts for;
 * - capacity: level + tokens accounted for ≤ capacity, and level + tokens held ≤ capacity;
 * - refill: the level rises by no more than rate × time, and never jumps.
 */
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';
import type { BucketState } from '../../../src/limit/bucket/bucket-state.ts';
import { LEASE_US, MICRO } from '../../../src/limit/store/bucket-store.ts';
import type { Limits } from '../bucket/oracle.ts';
import { Ledger } from './ledger.ts';
import type { Batch } from './link.ts';
import type { Execution, SimStore } from './sim-store.ts';
import type { SimWorker } from './sim-worker.ts';
import { type StoreEvent, Timeline } from './timeline.ts';
import type { VirtualTime } from './virtual-time.ts';

const LEASE_MS = LEASE_US / 1000;
/** After this time, every lease from before a fault is spent or has expired. */
const LEASE_LAG_MS = 2 * LEASE_MS;
/** Rounding of whole micro-tokens. */
const SLACK_MICRO = 2;

export interface BooksOptions {
  time: VirtualTime;
  store: SimStore;
  /** Longest time from a grant to the admission. */
  lagMs: number;
  complain: (text: string) => void;
}

interface Flying {
  tokens: number;
  order: number;
  executedMs: number;
  arrived: boolean;
}

/** A reply with the sequence number of its take at the store. */
export interface Answered {
  reply: TakeReply;
  batch: Batch;
  order: number;
}

export class BucketBooks {
  readonly key: string;
  readonly timeline: Timeline;
  readonly #options: BooksOptions;
  readonly #ledgers = new Map<SimWorker, Ledger>();
  /** Granted tokens on their way to requests: no longer in the bucket, and not used yet. */
  #flying: Flying[] = [];
  #levelMicro: number;
  #levelAtMs: number;
  #rateMicro: number;
  /** When the tokens were granted that a take returns. */
  readonly #grantedMs = new WeakMap<TakeRequest, number>();
  /** Tokens returned since the last check of the level. */
  #returned = 0;
  /** The store has lost the bucket: the next one is full. */
  #lost = false;
  /** When it was last lost, or its limits changed. */
  #replacedMs = Number.NEGATIVE_INFINITY;
  #leasesUnknownUntilMs = 0;

  constructor(key: string, reply: TakeReply, options: BooksOptions) {
    this.key = key;
    this.#options = options;
    this.timeline = new Timeline(limitsOf(reply), options.time.nowMs, options.lagMs + LEASE_LAG_MS);
    this.#levelMicro = reply.capacity * MICRO;
    this.#levelAtMs = options.time.nowMs;
    this.#rateMicro = reply.rateMicro;
  }

  ledgerOf(worker: SimWorker): Ledger {
    let ledger = this.#ledgers.get(worker);
    if (ledger === undefined) {
      ledger = new Ledger((text) => this.#options.complain(`${worker.name} ${text}`));
      this.#ledgers.set(worker, ledger);
    }
    return ledger;
  }

  /** crashed: the tokens of the worker are lost. */
  crashed(worker: SimWorker): void {
    this.#ledgers.delete(worker);
  }

  /** sent: a take leaves a worker. */
  sent(worker: SimWorker, request: TakeRequest): void {
    const { ret, spent, retEpoch, refund, refundEpoch } = request;
    if (ret + spent + refund === 0) return;
    const ledger = this.ledgerOf(worker);
    if (ret > 0) ledger.sendBack(ret, retEpoch);
    if (spent > 0) ledger.tell(spent, retEpoch);
    if (refund === 0) return;
    this.#grantedMs.set(request, ledger.putBack(refund, refundEpoch, this.#options.time.nowMs));
  }

  /** onTake is called for every take at the store. */
  onTake(execution: Execution): void {
    const { reply, before, after } = execution;
    const { store } = this.#options;
    this.#takeBack(execution);
    const limits = limitsOf(reply);
    if (!this.timeline.has(limits)) {
      const leased = before === null ? 0 : store.accountedOf(before);
      const grownBy = Math.max(0, limits.capacity - this.timeline.limits.capacity);
      this.#happened({ kind: 'limits', limits, leased });
      this.#replacedMs = this.#options.time.nowMs;
      // A live bucket gets no extra tokens. One that had time to fill up may have expired, and then is full.
      if (before === null && !this.#lost) this.#happened({ kind: 'gift', tokens: grownBy });
    }
    this.#checkVersion(execution);
    if (before === null) {
      this.#levelMicro = reply.capacity * MICRO;
      if (this.#lost) this.#happened({ kind: 'gift', tokens: reply.capacity });
      this.#lost = false;
    }
    if (after !== null && after.rateMicro !== this.#rateMicro) this.#changeRate(after.rateMicro);
  }

  /** The newest limits that the bucket has seen are in force. */
  #checkVersion({ request, reply, before }: Execution): void {
    const newest = Math.max(request.versionUs, before?.versionUs ?? 0);
    if (reply.versionUs !== newest)
      this.#options.complain(`${this.key}: limits of version ${reply.versionUs} instead of ${newest}`);
  }

  #takeBack({ request, reply }: Execution): void {
    const { ret, refund, refundEpoch } = request;
    this.#returned += ret;
    const grantedMs = this.#grantedMs.get(request);
    if (grantedMs === undefined || refundEpoch < reply.epoch - 1 || refundEpoch > reply.epoch) return;
    this.#returned += refund;
    // The store kept no room for these tokens, so the bucket could fill up meanwhile. If it became full, or was cut to
    // other limits, earlier tokens do not count any more.
    const flowed =
      grantedMs <= this.#replacedMs
        ? refund
        : (this.timeline.limits.ratePerSec * (this.#options.time.nowMs - grantedMs)) / 1000;
    this.#happened({ kind: 'gift', tokens: Math.min(refund, flowed) });
  }

  /** executed: the answer to a worker's take leaves the store. */
  executed(worker: SimWorker, { reply, batch, order }: Answered): void {
    const { executedMs, sentMs } = batch;
    if (reply.granted > 0) this.#flying.push({ tokens: reply.granted, order, executedMs, arrived: false });
    if (reply.ahead === 0 || !worker.alive) return;
    const expiresMs = sentMs + LEASE_MS / worker.clockSpeed;
    this.ledgerOf(worker).lend({ tokens: reply.ahead, epoch: reply.epoch, order, expiresMs });
  }

  /** delivered: the answer has reached the worker in time. */
  delivered(worker: SimWorker, { reply, batch, order }: Answered): void {
    const ledger = this.ledgerOf(worker);
    ledger.arrive({ tokens: reply.granted, epoch: reply.epoch, executedMs: batch.executedMs, order });
    ledger.lentArrived(order, this.#options.time.nowMs);
    const flight = this.#flying.find((one) => one.order === order);
    if (flight !== undefined) flight.arrived = true;
  }

  /** lost: the store has lost the bucket. */
  lost(): void {
    this.#lost = true;
    this.#replacedMs = this.#options.time.nowMs;
    this.#voidLeases();
  }

  /**
   * failedOver: the store has lost its last writes, which had granted this many tokens.
   *
   * @param changed whether these writes changed limits: the next take brings the limits again, but not the cut of the level
   */
  failedOver(tokens: number, changed: boolean): void {
    const state = this.#options.store.stateOf(this.key);
    const limits = state === null ? this.timeline.limits : limitsOf(state);
    if (!this.timeline.has(limits)) this.#happened({ kind: 'limits', limits, leased: 0 });
    this.#happened({ kind: 'gift', tokens: changed ? limits.capacity : Math.min(limits.capacity, tokens) });
    this.#voidLeases();
  }

  clockStepped(byMs: number): void {
    const { capacity, ratePerSec } = this.timeline.limits;
    if (byMs > 0) this.#happened({ kind: 'gift', tokens: Math.min(capacity, (ratePerSec * byMs) / 1000) });
    this.#voidLeases();
  }

  /** look accepts the level after a fault as it is. From now on it must not jump. */
  look(): void {
    const { store } = this.#options;
    const state = store.stateOf(this.key);
    // A bucket that has expired is a full one.
    if (state === null) this.#remember(this.timeline.limits.capacity * MICRO);
    else {
      this.#remember(store.levelMicroOf(state));
      this.#rateMicro = state.rateMicro;
    }
  }

  afterEvent(): void {
    const { store, time } = this.#options;
    for (const ledger of this.#ledgers.values()) ledger.close(time.nowMs);
    const state = store.stateOf(this.key);
    if (state === null) return;
    const levelMicro = store.levelMicroOf(state);
    this.#checkRefill(levelMicro);
    this.#remember(levelMicro);
    if (levelMicro > 0) this.#checkHeld(state, levelMicro);
  }

  #checkRefill(levelMicro: number): void {
    const { time, complain } = this.#options;
    const flowed = this.#levelMicro + (this.#rateMicro * (time.nowMs - this.#levelAtMs)) / 1000;
    // The store's clock has whole microseconds.
    const most = flowed + this.#returned * MICRO + SLACK_MICRO + this.#rateMicro / MICRO;
    if (levelMicro > most)
      complain(`${this.key}: the level jumped to ${levelMicro}, at most ${Math.floor(most)} can be there`);
  }

  #checkHeld(state: BucketState, levelMicro: number): void {
    const { store, time, complain } = this.#options;
    const accounted = store.accountedOf(state);
    const room = state.capacity * MICRO - levelMicro;
    if (accounted * MICRO > room)
      complain(`${this.key}: level ${levelMicro} + ${accounted} tokens on lease > ${state.capacity}`);
    if (time.nowMs < this.#leasesUnknownUntilMs) return;
    let held = 0;
    for (const ledger of this.#ledgers.values()) held += ledger.held(time.nowMs);
    if (held > accounted)
      complain(`${this.key}: workers hold ${held} tokens on lease, ${accounted} are accounted for`);
    if (held * MICRO > room)
      complain(`${this.key}: level ${levelMicro} + ${held} tokens held > ${state.capacity}`);
  }

  #changeRate(rateMicro: number): void {
    // Until now it refilled at the old rate.
    const { nowMs } = this.#options.time;
    this.#levelMicro += (this.#rateMicro * (nowMs - this.#levelAtMs)) / 1000 + this.#rateMicro / MICRO;
    this.#levelAtMs = nowMs;
    this.#rateMicro = rateMicro;
  }

  #remember(levelMicro: number): void {
    this.#levelMicro = levelMicro;
    this.#levelAtMs = this.#options.time.nowMs;
    this.#returned = 0;
  }

  /** The store no longer accounts for leases, or for too short a time. */
  #voidLeases(): void {
    this.#leasesUnknownUntilMs = this.#options.time.nowMs + this.#options.lagMs + LEASE_LAG_MS;
  }

  #happened(
    what: { kind: 'gift'; tokens: number } | { kind: 'limits'; limits: Limits; leased: number },
  ): void {
    const { store, time, lagMs } = this.#options;
    const fromMs = time.nowMs - lagMs;
    this.#flying = this.#flying.filter(({ arrived, executedMs }) => !arrived && executedMs >= fromMs);
    const flying = this.#flying.reduce((sum, { tokens }) => sum + tokens, 0);
    const event: StoreEvent = { ...what, atMs: time.nowMs, order: store.executions - 0.5, flying };
    this.timeline.add(event);
  }
}

function limitsOf({ capacity, rateMicro }: { capacity: number; rateMicro: number }): Limits {
  return { capacity, ratePerSec: rateMicro / MICRO };
}
