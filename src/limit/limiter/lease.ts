/**
 * Leases: tokens of one busy bucket that a worker took ahead of its requests, so that most of them need not ask the store.
 *
 * The bucket accounts for every token out on lease (lua/take-tokens-n.lua): level + leased ≤ capacity, so leases admit
 * nothing that the bucket would not have admitted. That holds because of three rules kept here:
 * - a lot is used until sentAt + lease on this process's monotonic clock. The store granted it later than that, and accounts
 *   for it at least as long;
 * - only tokens lent ahead become a lot, never those granted to requests, which the bucket does not account for;
 * - a token is spent or returned, once. A return that is lost, or late by the store's clock, loses the tokens.
 *
 * The store is told what was spent, too: spent tokens need no room in the bucket any more, which may then fill up and lend more.
 * (Without that, leases of 50 ms on a bucket of 500 that refills 5,000/s saved half of the calls; with it 97 %.)
 *
 * Only a bucket that is asked for often enough has an account; how much it asks for follows the demand.
 */

import type { BucketRules } from '../bucket/effective-limits.ts';
import type { TokenOrigin } from '../decision.ts';
import { LEASE_US } from '../store/bucket-store.ts';

export const LEASE_MS = LEASE_US / 1000;
/** Smaller buckets, and those that refill fewer tokens in a lease than this, are served by coalescing alone. */
const MIN_CAPACITY = 20;
const MIN_REFILL_PER_LEASE = 8;
/** Below this demand a lot would hold only one token or two; tokens per lease. */
const MIN_DEMAND_PER_LEASE = 4;
/**
 * A request counts for no more tokens of demand than this. It makes the next lots larger by less than so many tokens: one
 * request of a cost of thousands says nothing about the next ones, for which the bucket would have to lend as much.
 */
export const MAX_DEMAND_PER_REQUEST = 10;
/** A lot is sized for this part of its life, so that a steady flow spends it before it is returned. */
const TARGET_PART = 0.6;
/** Unspent tokens go back when this part of the lot's life is left, in time for the store to accept them. */
const RETURN_PART = 0.25;
/** From sending a take until the unspent tokens of its lot go back. */
export const RETURN_AFTER_MS = LEASE_MS * (1 - RETURN_PART);
/** More is asked for when no more is held than this many round trips use up. */
const LOW_ROUND_TRIPS = 2;
/** Demand is counted in bins and smoothed over about three of them. */
export const BIN_MS = 50;
const SMOOTHING = 0.3;
/** A bucket that lends less than asked is near its limit: for this part of a lease only requests ask it. */
const PAUSE_PART = 0.25;

/** Lot is the leased tokens of one take. */
export class Lot implements TokenOrigin {
  tokens: number;
  /** Spent and not reported yet: only so many can be put back into it. */
  spent = 0;
  /** The store's epoch in which it was lent. */
  readonly epoch: number;
  /** Monotonic; from then on it must not be spent. */
  readonly expiresMs: number;

  constructor(tokens: number, epoch: number, expiresMs: number) {
    this.tokens = tokens;
    this.epoch = epoch;
    this.expiresMs = expiresMs;
  }
}

/** What a take asks of a bucket beside the tokens of its requests, and tells it of those lent before. */
export interface LeaseAsk {
  readonly ahead: number;
  readonly ret: number;
  readonly spent: number;
  readonly retEpoch: number;
}

/** Tokens of one epoch that the worker no longer has; the store is to be told. */
interface LeaseReport {
  ret: number;
  spent: number;
  readonly epoch: number;
  /** The store's accounting ends at most one lease after the lot's own end. */
  readonly untilMs: number;
}

const NOTHING: LeaseAsk = { ahead: 0, ret: 0, spent: 0, retEpoch: 0 };

/** leasable says whether a bucket is large and quick enough to lend. */
export function leasable({ capacity, rateMicro }: BucketRules): boolean {
  return capacity >= MIN_CAPACITY && (rateMicro / 1e6) * (LEASE_US / 1e6) >= MIN_REFILL_PER_LEASE;
}

export class LeaseAccount {
  /** Oldest first. */
  #lots: Lot[] = [];
  #held = 0;
  /** What the next takes report to the store, one per epoch. */
  #reports: LeaseReport[] = [];
  /** Smoothed tokens per ms. */
  #demand = 0;
  #binTokens: number;
  #binStartMs: number;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  /** runsLow said so since the last ask. */
  #low = false;

  /** The demand so far: tokens wanted since a moment less than BIN_MS ago. */
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
    return this.#reports.some(({ ret }) => ret > 0);
  }

  /** observe counts the demand of a request that wants tokens, whoever grants them. */
  observe(cost: number, nowMs: number): void {
    this.#turnBin(nowMs);
    this.#binTokens += Math.min(cost, MAX_DEMAND_PER_REQUEST);
  }

  /** covers says whether spend would find enough. */
  covers(cost: number, nowMs: number): boolean {
    this.#retire(nowMs);
    return this.#held >= cost;
  }

  /** spend takes `cost` tokens out of the lots and returns the oldest of those, or null where there are not enough. */
  spend(cost: number, nowMs: number): Lot | null {
    // First, for it retires what has expired.
    const covered = this.covers(cost, nowMs);
    const oldest = this.#lots[0];
    if (oldest === undefined || !covered) return null;
    this.#held -= cost;
    let missing = cost;
    for (let lot: Lot | undefined = oldest; lot !== undefined && missing > 0; lot = this.#lots[0]) {
      const spent = Math.min(lot.tokens, missing);
      lot.tokens -= spent;
      lot.spent += spent;
      missing -= spent;
      if (lot.tokens > 0) continue;
      this.#lots.shift();
      this.#report(lot, 0);
    }
    return oldest;
  }

  /**
   * unspend puts tokens back that were spent for nothing, into the lot that spend named. False where the spending has been
   * reported to the store, or is about to be: then only the store can take them back.
   */
  unspend(lot: Lot, tokens: number, nowMs: number): boolean {
    if (nowMs >= lot.expiresMs || lot.spent < tokens) return false;
    lot.spent -= tokens;
    lot.tokens += tokens;
    this.#held += tokens;
    return true;
  }

  /** add adds a lot; one that has expired on its way is returned. */
  add(lot: Lot, nowMs: number): void {
    if (nowMs >= lot.expiresMs) {
      this.#report(lot, lot.tokens);
      return;
    }
    this.#lots.push(lot);
    this.#held += lot.tokens;
  }

  /**
   * runsLow says whether it is time to ask although nobody waits; the next ask then does.
   *
   * @param roundTripMs how long an answer takes
   */
  runsLow(nowMs: number, roundTripMs: number): boolean {
    if (!this.#hot || nowMs < this.#pausedUntilMs) return false;
    this.#low = this.#held <= LOW_ROUND_TRIPS * this.#demand * roundTripMs;
    return this.#low;
  }

  /**
   * ask is what the next take carries.
   *
   * @param rules the limits in force, or null where nothing may be lent
   * @param waiting whether the take leaves in any case, for requests
   */
  ask(nowMs: number, rules: BucketRules | null, waiting: boolean): LeaseAsk {
    this.age(nowMs);
    // Only requests make it ask for more. If a return did, tokens would go back and forth for ever.
    const wants = (waiting || this.#low) && rules !== null && leasable(rules);
    this.#low = false;
    const ahead = wants ? this.#wanted(nowMs) : 0;
    const report = this.#nextReport(nowMs, waiting || ahead > 0);
    if (report === undefined) return ahead === 0 ? NOTHING : { ...NOTHING, ahead };
    const { ret, spent, epoch } = report;
    return { ahead, ret, spent, retEpoch: epoch };
  }

  /** lent hears how much of what was asked for was lent. */
  lent(asked: number, got: number, nowMs: number): void {
    if (got < asked) this.#pausedUntilMs = nowMs + LEASE_MS * PAUSE_PART;
  }

  /** age puts up for return what will not be spent in time; true where anything waits to go back. */
  age(nowMs: number): boolean {
    const returnFromMs = nowMs + LEASE_MS * RETURN_PART;
    this.#retire(returnFromMs);
    return this.hasReturns;
  }

  /** returnAll puts up everything for return: the limits changed, or the worker stops. */
  returnAll(): void {
    this.#retire(Number.POSITIVE_INFINITY);
  }

  /** drop loses everything: the bucket it came from is gone. */
  drop(): void {
    for (const lot of this.#lots) lot.spent = 0;
    this.#lots = [];
    this.#held = 0;
    this.#reports = [];
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
    for (;;) {
      const oldest = this.#lots[0];
      if (oldest === undefined || oldest.expiresMs > byMs) return;
      this.#lots.shift();
      this.#held -= oldest.tokens;
      this.#report(oldest, oldest.tokens);
    }
  }

  /** Moves out of a lot what the store is to be told: what was spent, and so many that go back. */
  #report(lot: Lot, ret: number): void {
    const { spent, epoch, expiresMs } = lot;
    lot.tokens -= ret;
    lot.spent = 0;
    if (ret + spent === 0) return;
    const known = this.#reports.find((report) => report.epoch === epoch);
    if (known === undefined) {
      this.#reports.push({ ret, spent, epoch, untilMs: expiresMs + LEASE_MS });
      return;
    }
    known.ret += ret;
    known.spent += spent;
  }

  /** @param travels whether a take leaves in any case: for what was spent alone none is sent */
  #nextReport(nowMs: number, travels: boolean): LeaseReport | undefined {
    this.#reports = this.#reports.filter(({ untilMs }) => nowMs < untilMs);
    if (travels) for (const lot of this.#lots) this.#report(lot, 0);
    const index = travels ? 0 : this.#reports.findIndex(({ ret }) => ret > 0);
    return index === -1 ? undefined : this.#reports.splice(index, 1)[0];
  }
}
