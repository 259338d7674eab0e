/** What a worker may grant alone while the store is away: its share of the limit, starting from the last known level. */
import type { TakeReply } from '../../../src/contract/buckets.ts';
import type { Decision } from '../../../src/limit/decision.ts';
import { MICRO } from '../../../src/limit/store/bucket-store.ts';
import { WindowOracle } from '../bucket/oracle.ts';

/** Shares are counted in whole micro-tokens and microseconds, so two of them may be missing or extra. */
const SLACK = 0.001;
const SLACK_SEC = 2e-6;

/** All times are on the worker's monotonic clock. */
export class LocalShare {
  #oracle: WindowOracle | null = null;
  #heard: { reply: TakeReply; sentMs: number } | null = null;
  #decidedMs = Number.NEGATIVE_INFINITY;
  #resetMs = Number.NEGATIVE_INFINITY;

  /** The store has reported the level of the whole bucket. */
  heard(reply: TakeReply, sentMs: number): void {
    if (sentMs > this.#resetMs) this.#heard = { reply, sentMs };
  }

  /**
   * decide records a decision that the worker made alone and returns by how many tokens it exceeded the share.
   *
   * @param parts number of workers of all machines that this one knows of
   */
  decide(decision: Decision, cost: number, { nowMs, parts }: { nowMs: number; parts: number }): number {
    const { capacity, refillPerSecond, charged } = decision;
    const share = {
      capacity: Math.max(1, Math.floor(capacity / parts)),
      ratePerSec: Math.max(1 / MICRO, refillPerSecond / parts),
    };
    this.#oracle?.spend(nowMs, 0);
    // A full share is treated like a missing one: under new limits it is full too.
    if (this.#oracle === null || this.#oracle.level >= this.#oracle.limits.capacity) {
      this.#oracle = new WindowOracle(share, nowMs);
    }
    this.#oracle.changeLimits(nowMs, share);
    const heard = this.#heard;
    const fresh = heard !== null && heard.sentMs > this.#decidedMs;
    if (
      fresh &&
      heard.reply.capacity === capacity &&
      heard.reply.rateMicro / MICRO <= refillPerSecond + SLACK
    ) {
      const flowed = ((nowMs - heard.sentMs) / 1000) * refillPerSecond;
      const ratio = Math.min(1, (heard.reply.levelMicro / MICRO + flowed) / capacity);
      this.#oracle.lower(nowMs, ratio * share.capacity);
    }
    this.#decidedMs = nowMs;
    const debt = this.#oracle.spend(nowMs, charged ? cost : 0);
    return debt > SLACK + share.ratePerSec * SLACK_SEC ? debt : 0;
  }

  /** The request was not admitted. */
  giveBack(cost: number, nowMs: number): void {
    this.#oracle?.allow(nowMs, cost, 0);
  }

  /** An operator refilled the bucket. */
  refill(nowMs: number): void {
    this.#resetMs = nowMs;
    this.#heard = null;
    this.#oracle = null;
  }
}
