/**
 * Leases: tokens of one busy bucket that a worker takes ahead, so that most requests need not ask the store.
 *
 * Invariant: level + leased ≤ capacity in the bucket, which accounts for every lease token (lua/take-tokens-n.lua). Leases
 * admit nothing that the bucket would not have admitted, because of three rules:
 * - A lot is spent until sentAt + lease on this process's monotonic clock. The store granted it later than sentAt and accounts
 *   for it at least as long.
 * - Only tokens taken ahead become a lot. The bucket does not account for tokens granted to requests.
 * - A token is spent or returned, once. A return that is lost, or late by the store's clock, loses the tokens.
 *
 * The store is also told what was spent, because spent tokens need no room in the bucket: that saves most of the calls.
 */
import type { TakeRequest } from '../../contract/buckets.ts';
import type { BucketRules } from '../bucket/effective-limits.ts';
import type { TokenOrigin } from '../decision.ts';
import { LEASE_US } from '../store/bucket-store.ts';

export const LEASE_MS = LEASE_US / 1000;
/** Smaller buckets, and those that refill more slowly, have no leases. */
const MIN_CAPACITY = 20;
const MIN_REFILL_PER_LEASE = 8;
/** In tokens per lease. Below this demand a lot would hold a token or two. */
const MIN_DEMAND_PER_LEASE = 4;
/** A request adds no more to the demand: one huge cost says nothing about the next requests. */
export const MAX_DEMAND_PER_REQUEST = 10;
/** A lot is sized for this part of its lifetime, so that steady traffic spends it before its return. */
const TARGET_PART = 0.6;
/** Unspent tokens go back when this part of the lot's lifetime is left, so that the store still accepts them. */
const RETURN_PART = 0.25;
/** From the sending of a take to the return of the unspent tokens of its lot. */
export const RETURN_AFTER_MS = LEASE_MS * (1 - RETURN_PART);
/** The worker asks for more when its tokens last no longer than this many round trips. */
const LOW_ROUND_TRIPS = 2;
/** Demand is counted in bins and smoothed over about three of them. */
export const BIN_MS = 50;
const SMOOTHING = 0.3;
/** A bucket that lends less than asked is near its limit. For this part of a lease the account does not ask on its own. */
const PAUSE_PART = 0.25;

/** Lot is the leased tokens of one take. */
export class Lot implements TokenOrigin {
  tokens: number;
  /** Spent tokens that the store has not been told of. Only these can be put back. */
  spent = 0;
  readonly epoch: number;
  /** The end of the lot: it must not be spent any more. Monotonic. */
  readonly expiresMs: number;

  constructor(tokens: number, epoch: number, expiresMs: number) {
    this.tokens = tokens;
    this.epoch = epoch;
    this.expiresMs = expiresMs;
  }
}

/** The lease's part of a TakeRequest. */
export type LeaseAsk = Readonly<Pick<TakeRequest, 'ahead' | 'ret' | 'spent' | 'retEpoch'>>;

export const NO_LEASE: LeaseAsk = { ahead: 0, ret: 0, spent: 0, retEpoch: 0 };

/** leasable says whether a bucket is large and fast enough for leases. */
export function leasable({ capacity, rateMicro }: BucketRules): boolean {
  return capacity >= MIN_CAPACITY && (rateMicro / 1e6) * (LEASE_US / 1e6) >= MIN_REFILL_PER_LEASE;
}

/** LeaseAccount has the lots and the demand of one busy bucket. It asks for tokens in proportion to the demand. */
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
  /** The last result of runsLow since the last ask. */
  #low = false;

  /** @param tokens wanted since `sinceMs`, less than BIN_MS ago */
  constructor(sinceMs: number, tokens: number) {
    this.#binStartMs = sinceMs;
    this.#binTokens = tokens;
  }

  /** Tokens on lease, including some that may have expired. */
  get held(): number {
    return this.#held;
  }

  /** Whether unspent tokens wait for their return. */
  get hasReturns(): boolean {
    return this.#ended.some(({ tokens }) => tokens > 0);
  }

  /** observe counts the demand of a request, whether or not a lot serves it. */
  observe(cost: number, nowMs: number): void {
    this.#turnBin(nowMs);
    this.#binTokens += Math.min(cost, MAX_DEMAND_PER_REQUEST);
  }

  /** Tokens that can be spent now. */
  heldAt(nowMs: number): number {
    this.#retire(nowMs);
    return this.#held;
  }

  /** covers says whether spend would find enough. */
  covers(cost: number, nowMs: number): boolean {
    return this.heldAt(nowMs) >= cost;
  }

  /** spend takes `cost` tokens from the lots, oldest first, and returns the first of these lots; null: too few. */
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
   * unspend puts tokens back into the lot that spend returned. false: the lot has ended or the store has been told, so only
   * the store can take them back.
   */
  unspend(lot: Lot, tokens: number, nowMs: number): boolean {
    if (nowMs >= lot.expiresMs || lot.spent < tokens || !this.#lots.includes(lot)) return false;
    lot.spent -= tokens;
    lot.tokens += tokens;
    this.#held += tokens;
    return true;
  }

  /** add adds a lot, which expires after those before it. One that has expired on its way goes back as any other. */
  add(lot: Lot): void {
    this.#lots.push(lot);
    this.#held += lot.tokens;
  }

  /** runsLow says whether to ask although no request waits. If so, the next ask wants more tokens. */
  runsLow(nowMs: number, roundTripMs: number): boolean {
    if (!this.#hot || nowMs < this.#pausedUntilMs) return false;
    this.#low = this.#held <= LOW_ROUND_TRIPS * this.#demand * roundTripMs;
    return this.#low;
  }

  /**
   * ask is what the next take carries.
   *
   * @param rules the limits in force; null: leases are off
   * @param waiting whether requests wait, so that the take is sent in any case
   */
  ask(nowMs: number, rules: BucketRules | null, waiting: boolean): LeaseAsk {
    this.age(nowMs);
    // A return alone must not ask for more, or tokens would go back and forth for ever.
    const wants = (waiting || this.#low) && rules !== null && leasable(rules);
    this.#low = false;
    const ahead = wants ? this.#wanted(nowMs) : 0;
    return { ...this.#nextReport(nowMs, waiting || ahead > 0), ahead };
  }

  /** lent pauses asking where the store lent less than was asked. */
  lent(asked: number, got: number, nowMs: number): void {
    if (got < asked) this.#pausedUntilMs = nowMs + LEASE_MS * PAUSE_PART;
  }

  /** age ends the lots that will expire soon, and says whether tokens wait for their return. */
  age(nowMs: number): boolean {
    this.#retire(nowMs + LEASE_MS * RETURN_PART);
    return this.hasReturns;
  }

  /** returnAll ends all lots: the limits changed, or the worker stops. */
  returnAll(): void {
    this.#retire(Number.POSITIVE_INFINITY);
  }

  /** drop forgets all lots: their bucket is gone. */
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

  /** Ends the lots that expire by then. */
  #retire(byMs: number): void {
    for (let lot = this.#lots[0]; lot !== undefined && lot.expiresMs <= byMs; lot = this.#lots[0]) {
      this.#lots.shift();
      this.#held -= lot.tokens;
      this.#ended.push(lot);
    }
  }

  /**
   * The report about the tokens of one epoch.
   *
   * @param travels whether the take is sent in any case: spent tokens alone are not worth one
   */
  #nextReport(nowMs: number, travels: boolean): LeaseAsk {
    // The store accounts for tokens at most until one lease after the end of their lot.
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
