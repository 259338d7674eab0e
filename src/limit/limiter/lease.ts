/**
 * Leases: tokens of one busy bucket that a worker took ahead of its requests, so that most of them need not ask the store.
 *
 * Invariant: level + leased ≤ capacity in the bucket, which accounts for every token on lease (lua/take-tokens-n.lua). So
 * leases admit nothing that the bucket would not have admitted, because of three rules kept here:
 * - a lot is used until sentAt + lease on this process's monotonic clock. The store granted it later, and
 *   accounts for it as long;
 * - only tokens lent ahead become a lot. The bucket does not account for those that it granted to requests;
 * - a token is spent or returned, once. A return that is lost, or late by the store's clock, loses the tokens.
 *
 * The store is told what was spent, too: spent tokens need no room in the bucket any more. (Without that,
 * leases saved half of the calls on a bucket of 500 that refills 5,000/s; with it 97 %.)
 */
import type { TakeRequest } from '../../contract/buckets.ts';
import type { BucketRules } from '../bucket/effective-limits.ts';
import type { TokenOrigin } from '../decision.ts';
import { LEASE_US } from '../store/bucket-store.ts';

export const LEASE_MS = LEASE_US / 1000;
/** Smaller buckets, and those that refill fewer tokens in a lease, make do with coalesced takes. */
const MIN_CAPACITY = 20;
const MIN_REFILL_PER_LEASE = 8;
/** Tokens per lease: below this demand a lot would hold a token or two. */
const MIN_DEMAND_PER_LEASE = 4;
/** A request counts for no more tokens of demand: one of a huge cost says nothing about the next ones. */
export const MAX_DEMAND_PER_REQUEST = 10;
/** A lot is sized for this part of its life, so that a steady flow spends it before it goes back. */
const TARGET_PART = 0.6;
/** Unspent tokens go back when this part of the lot's life is left, in time for the store to accept them. */
const RETURN_PART = 0.25;
/** From the sending of a take until the unspent tokens of its lot go back. */
export const RETURN_AFTER_MS = LEASE_MS * (1 - RETURN_PART);
/** More is asked for when what is held lasts no longer than this many round trips. */
const LOW_ROUND_TRIPS = 2;
/** Demand is counted in bins and smoothed over about three of them. */
export const BIN_MS = 50;
const SMOOTHING = 0.3;
/** A bucket that lends less than asked is near its limit. For this part of a lease only requests ask it. */
const PAUSE_PART = 0.25;

/** Lot is the leased tokens of one take. */
export class Lot implements TokenOrigin {
  tokens: number;
  /** Spent and not reported to the store yet. Only so many can be put back into the lot. */
  spent = 0;
  readonly epoch: number;
  /** From then on it must not be spent. Monotonic. */
  readonly expiresMs: number;

  constructor(tokens: number, epoch: number, expiresMs: number) {
    this.tokens = tokens;
    this.epoch = epoch;
    this.expiresMs = expiresMs;
  }
}

/** The part of a TakeRequest that is the lease's. */
export type LeaseAsk = Readonly<Pick<TakeRequest, 'ahead' | 'ret' | 'spent' | 'retEpoch'>>;

/** The ask of a take that has nothing to do with leases. */
export const NO_LEASE: LeaseAsk = { ahead: 0, ret: 0, spent: 0, retEpoch: 0 };

/** leasable says whether a bucket is large and quick enough to lend tokens. */
export function leasable({ capacity, rateMicro }: BucketRules): boolean {
  return capacity >= MIN_CAPACITY && (rateMicro / 1e6) * (LEASE_US / 1e6) >= MIN_REFILL_PER_LEASE;
}

/** LeaseAccount is kept for a bucket that is asked for often enough; how much it asks for follows the demand. */
export class LeaseAccount {
  /** Oldest first. */
  #lots: Lot[] = [];
  #held = 0;
  /** Lots that are spent or go back, until the store is told. */
  #ended: Lot[] = [];
  /** Smoothed tokens per ms. */
  #demand = 0;
  #binTokens: number;
  #binStartMs: number;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  /** runsLow has said so since the last ask. */
  #low = false;

  /** @param tokens wanted since `sinceMs`, less than BIN_MS ago */
  constructor(sinceMs: number, tokens: number) {
    this.#binStartMs = sinceMs;
    this.#binTokens = tokens;
  }

  /** Tokens on lease, some of which may have expired. */
  get held(): number {
    return this.#held;
  }

  /** Whether tokens wait to go back, which is worth a take of its own. */
  get hasReturns(): boolean {
    return this.#ended.some(({ tokens }) => tokens > 0);
  }

  /** observe counts the demand of a request, whoever grants it. */
  observe(cost: number, nowMs: number): void {
    this.#turnBin(nowMs);
    this.#binTokens += Math.min(cost, MAX_DEMAND_PER_REQUEST);
  }

  /** covers says whether spend would find enough. */
  covers(cost: number, nowMs: number): boolean {
    this.#retire(nowMs);
    return this.#held >= cost;
  }

  /** spend takes `cost` tokens out of the lots and returns the oldest of those lots; null: there are not enough. */
  spend(cost: number, nowMs: number): Lot | null {
    if (!this.covers(cost, nowMs)) return null;
    const oldest = this.#lots[0];
    if (oldest === undefined) return null;
    this.#held -= cost;
    let missing = cost;
    for (let lot: Lot | undefined = oldest; lot !== undefined && missing > 0; lot = this.#lots[0]) {
      const spent = Math.min(lot.tokens, missing);
      lot.tokens -= spent;
      lot.spent += spent;
      missing -= spent;
      if (lot.tokens > 0) continue;
      this.#lots.shift();
      this.#ended.push(lot);
    }
    return oldest;
  }

  /**
   * unspend puts back tokens that were spent for nothing, into the lot that spend named. false: the lot has
   * ended, or the store has been told; only the store can take them back.
   */
  unspend(lot: Lot, tokens: number, nowMs: number): boolean {
    if (nowMs >= lot.expiresMs || lot.spent < tokens || !this.#lots.includes(lot)) return false;
    lot.spent -= tokens;
    lot.tokens += tokens;
    this.#held += tokens;
    return true;
  }

  /** add adds a lot; one that expired on its way goes back. */
  add(lot: Lot, nowMs: number): void {
    if (nowMs >= lot.expiresMs) {
      this.#ended.push(lot);
      return;
    }
    this.#lots.push(lot);
    this.#held += lot.tokens;
  }

  /** runsLow says whether it is time to ask although nobody waits. The next ask then asks for more. */
  runsLow(nowMs: number, roundTripMs: number): boolean {
    if (!this.#hot || nowMs < this.#pausedUntilMs) return false;
    this.#low = this.#held <= LOW_ROUND_TRIPS * this.#demand * roundTripMs;
    return this.#low;
  }

  /**
   * ask is what the next take carries.
   *
   * @param rules the limits in force; null: nothing may be lent
   * @param waiting whether requests wait, so that the take leaves in any case
   */
  ask(nowMs: number, rules: BucketRules | null, waiting: boolean): LeaseAsk {
    this.age(nowMs);
    // Only requests make it ask for more: if a return did, tokens would go back and forth for ever.
    const wants = (waiting || this.#low) && rules !== null && leasable(rules);
    this.#low = false;
    const ahead = wants ? this.#wanted(nowMs) : 0;
    return { ...this.#nextReport(nowMs, waiting || ahead > 0), ahead };
  }

  /** lent is told how much of what was asked for was lent. */
  lent(asked: number, got: number, nowMs: number): void {
    if (got < asked) this.#pausedUntilMs = nowMs + LEASE_MS * PAUSE_PART;
  }

  /** age puts up for return what will not be spent in time, and says whether anything waits to go back. */
  age(nowMs: number): boolean {
    this.#retire(nowMs + LEASE_MS * RETURN_PART);
    return this.hasReturns;
  }

  /** returnAll puts up everything for return: the limits changed, or the worker stops. */
  returnAll(): void {
    this.#retire(Number.POSITIVE_INFINITY);
  }

  /** drop loses everything: the bucket it came from is gone. */
  drop(): void {
    this.#lots = [];
    this.#held = 0;
    this.#ended = [];
  }

  #turnBin(nowMs: number): void {
    const elapsedMs = nowMs - this.#binStartMs;
    if (elapsedMs < BIN_MS) return;
    const emptyBins = Math.floor(elapsedMs / BIN_MS) - 1;
    const heard = this.#binTokens / BIN_MS;
    const grown = this.#demand === 0 ? heard : this.#demand + SMOOTHING * (heard - this.#demand);
    this.#demand = grown * (1 - SMOOTHING) ** emptyBins;
    this.#binTokens = 0;
    this.#binStartMs = nowMs - (elapsedMs % BIN_MS);
  }

  get #hot(): boolean {
    return this.#demand * LEASE_MS >= MIN_DEMAND_PER_LEASE;
  }

  #wanted(nowMs: number): number {
    this.#turnBin(nowMs);
    if (!this.#hot) return 0;
    return Math.max(0, Math.ceil(this.#demand * LEASE_MS * TARGET_PART) - this.#held);
  }

  /** Puts up for return what expires by then. */
  #retire(byMs: number): void {
    for (let lot = this.#lots[0]; lot !== undefined && lot.expiresMs <= byMs; lot = this.#lots[0]) {
      this.#lots.shift();
      this.#held -= lot.tokens;
      this.#ended.push(lot);
    }
  }

  /**
   * What the store is to be told of the tokens of one epoch.
   *
   * @param travels whether a take leaves in any case; what was spent is not worth one
   */
  #nextReport(nowMs: number, travels: boolean): LeaseAsk {
    // The store accounts for tokens until one lease after the end of their lot at most.
    this.#ended = this.#ended.filter(({ expiresMs }) => nowMs < expiresMs + LEASE_MS);
    const first = travels
      ? (this.#ended[0] ?? this.#lots.find(({ spent }) => spent > 0))
      : this.#ended.find(({ tokens }) => tokens > 0);
    if (first === undefined) return NO_LEASE;
    const { epoch } = first;
    const ended = this.#ended.filter((lot) => lot.epoch === epoch);
    this.#ended = this.#ended.filter((lot) => lot.epoch !== epoch);
    const ret = ended.reduce((sum, { tokens }) => sum + tokens, 0);
    let spent = 0;
    for (const lot of [...ended, ...this.#lots.filter((lot) => lot.epoch === epoch)]) {
      spent += lot.spent;
      lot.spent = 0;
    }
    return { ahead: 0, ret, spent, retEpoch: epoch };
  }
}
