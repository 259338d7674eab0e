/**
 * What a worker knows of one bucket: its limits, the last level it heard, who waits for the next reply, and until when no
 * token can exist (the deny cache).
 *
 * At most one take per bucket is under way; all requests that come meanwhile share the next one. Its states:
 *
 * idle: nothing to ask. `list` → listed, when a request waits or something is to go back.
 * listed: the limiter's next flush looks at it. `startAsking` → asking; `abandon` → idle, when the store is away.
 * asking: a take is under way. `stopAsking` → idle, when its reply or its failure is in, or nothing was sent after all.
 */
import type { TakeReply } from '../../contract/buckets.ts';
import type { ClientMatch } from '../../contract/clients.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import { prevails } from '../bucket/bucket-state.ts';
import { type EffectiveLimits, sameRules } from '../bucket/effective-limits.ts';
import type { Decision, DecisionSource, Level, Verdict } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { Pending } from '../store/deadline-queue.ts';
import { BIN_MS, LeaseAccount, type LeaseAsk, leasable, MAX_DEMAND_PER_REQUEST } from './lease.ts';
import type { HeardLevel } from './local-buckets.ts';

/** What a bucket must know of its policy; implemented by PolicyBuckets. */
export interface BucketPolicy {
  readonly name: string;
  /** See keySuffixOf. */
  readonly keySuffix: string;
  readonly shadow: boolean;
  readonly onStoreFailure: PolicySettings['onStoreFailure'];
  refusalOf(bucket: KnownBucket, cost: number, nowMs: number): Decision | null;
  verdictOn(bucket: KnownBucket, source: DecisionSource): Verdict;
  count(decision: Decision): Decision;
}

/** A request that waits for the store. */
export interface Waiter extends Pending {
  readonly bucket: KnownBucket;
  readonly cost: number;
  readonly enqueuedMs: number;
  readonly resolve: (decision: Decision) => void;
}

/** A denial is cached at most this long, so that raised limits and a reset bucket are noticed. */
const MAX_DENY_MS = 1_000;
/** An empty bucket is asked at most once per this, or per quarter of its time to fill, whichever is shorter. */
const PACE_MS = 5;
const PACE_PART = 4;
/** A round trip may be long because this process stood still, which says nothing of the bucket. */
const MAX_GRACE_MS = 5;
/** So that workers that were refused together do not ask together. */
const PACE_JITTER = 0.2;
/** Tokens wanted within BIN_MS that make a bucket worth a lease account. */
const MIN_DEMAND_PER_BIN = 8;
const NO_LEASE: LeaseAsk = { ahead: 0, ret: 0, spent: 0, retEpoch: 0 };

/** Granted tokens that no request used, and the store's epoch of the oldest. */
export interface Refund {
  readonly refund: number;
  readonly refundEpoch: number;
}

const NO_REFUND: Refund = { refund: 0, refundEpoch: 0 };
const NO_WAITERS: readonly Waiter[] = [];

/** Thousands of these are kept, most without traffic: what only traffic needs is made when it comes. */
export class KnownBucket {
  readonly policy: BucketPolicy;
  /** Of its owner, for bucketKey. */
  readonly hash: string;
  #state: 'idle' | 'listed' | 'asking' = 'idle';
  /** The configured limits, and what they were made from. */
  #rules: EffectiveLimits;
  #match: ClientMatch;
  #revision: number;
  /** The newest limits known: the configured ones, or the store's where those are newer. */
  #force: EffectiveLimits;
  #lease: LeaseAccount | null = null;
  #queue: Waiter[] | null = null;
  /** Demand while there is no lease account. */
  #wanted = 0;
  #wantedSinceMs: number | null = null;
  /** Goes back with the next take. */
  #refund = NO_REFUND;
  #levelMicro = 0;
  /** When the take was sent whose reply told the level: the earliest moment it can be true for. -Infinity: never heard. */
  #levelAtMs = Number.NEGATIVE_INFINITY;
  #paceUntilMs: number | null = null;
  /** Half of that take's round trip, at most MAX_GRACE_MS. */
  #halfTripMs = 0;
  /** false: the level still serves the local share, but refuses nobody. */
  #denying = false;
  /** Replies to takes sent before say nothing any more: an operator refilled the bucket. */
  #resetAtMs: number | null = null;

  /** @param emptyAtMs when the bucket is to be taken for empty, until the store is heard; null: nothing is known */
  constructor(
    policy: BucketPolicy,
    hash: string,
    limits: { rules: EffectiveLimits; match: ClientMatch; revision: number },
    emptyAtMs: number | null = null,
  ) {
    this.policy = policy;
    this.hash = hash;
    this.#rules = limits.rules;
    this.#match = limits.match;
    this.#revision = limits.revision;
    this.#force = limits.rules;
    if (emptyAtMs !== null) this.#levelAtMs = emptyAtMs;
  }

  /** TakeRequest.key; made anew each time, since it is needed once per take. */
  get key(): string {
    return `{${this.hash}}${this.policy.keySuffix}`;
  }

  /** The newest limits known. Takes carry them, so that an expired bucket is never made anew with older ones. */
  get force(): EffectiveLimits {
    return this.#force;
  }

  /** null: not asked for often enough. */
  get lease(): LeaseAccount | null {
    return this.#lease;
  }

  /** Those who wait for the next take, in order; some may have been answered meanwhile. */
  get queue(): readonly Waiter[] {
    return this.#queue ?? NO_WAITERS;
  }

  /** list says whether the bucket is to be put on the list of the next flush. */
  list(): boolean {
    if (this.#state !== 'idle') return false;
    this.#state = 'listed';
    return true;
  }

  /** startAsking empties the queue and the refund for a take. */
  startAsking(): { waiters: readonly Waiter[]; refund: Refund } {
    this.#state = 'asking';
    const refund = this.#refund;
    this.#refund = NO_REFUND;
    return { waiters: this.drainQueue(), refund };
  }

  stopAsking(): void {
    this.#state = 'idle';
  }

  /** abandon empties the queue of a listed bucket whose store is away. A refund would be too late once the store is back. */
  abandon(): readonly Waiter[] {
    const { waiters } = this.startAsking();
    this.stopAsking();
    return waiters;
  }

  enqueue(waiter: Waiter): void {
    this.#queue ??= [];
    this.#queue.push(waiter);
  }

  /** keepWaiting drops from the queue those whom the test does not keep. */
  keepWaiting(keeps: (waiter: Waiter) => boolean): void {
    if (this.#queue === null) return;
    const kept = this.#queue.filter(keeps);
    this.#queue = kept.length === 0 ? null : kept;
  }

  /** drainQueue empties the queue and returns those who still wait. */
  drainQueue(): readonly Waiter[] {
    const waiters = this.#queue?.filter((waiter) => !waiter.settled) ?? NO_WAITERS;
    this.#queue = null;
    return waiters;
  }

  /** isUpToDate says whether the limits were made from these. */
  isUpToDate(match: ClientMatch, revision: number): boolean {
    return this.#match === match && this.#revision === revision;
  }

  /** update takes limits from the configuration or the directory; the deny cache forgets where they are others. */
  update(limits: { rules: EffectiveLimits; match: ClientMatch; revision: number }): void {
    const { rules, match, revision } = limits;
    this.#match = match;
    this.#revision = revision;
    if (sameRules(rules, this.#rules)) return;
    this.#rules = rules;
    this.#denying = false;
    if (rules.versionUs < this.#force.versionUs) return;
    this.#enforce(rules);
    this.#levelMicro = Math.min(this.#levelMicro, rules.capacity * MICRO);
  }

  /** reset forgets the level and the lease, and ignores what replies to takes under way will say of either. */
  reset(nowMs: number): void {
    this.#resetAtMs = nowMs;
    this.#levelMicro = 0;
    this.#levelAtMs = Number.NEGATIVE_INFINITY;
    this.#paceUntilMs = null;
    this.#denying = false;
    this.#lease?.drop();
  }

  /** isStale says whether a take was sent before the bucket was refilled. */
  isStale(sentAtMs: number): boolean {
    return this.#resetAtMs !== null && sentAtMs <= this.#resetAtMs;
  }

  /** want counts a request that asks for tokens; a bucket asked for often enough gets a lease account. */
  want(cost: number, nowMs: number): void {
    if (this.#lease !== null) {
      this.#lease.observe(cost, nowMs);
      return;
    }
    if (!leasable(this.#force)) return;
    const sinceMs = this.#wantedSinceMs;
    const demand = Math.min(cost, MAX_DEMAND_PER_REQUEST);
    if (sinceMs === null || nowMs - sinceMs >= BIN_MS) {
      this.#wanted = demand;
      this.#wantedSinceMs = nowMs;
      return;
    }
    this.#wanted += demand;
    if (this.#wanted >= MIN_DEMAND_PER_BIN) this.#lease = new LeaseAccount(sinceMs, this.#wanted);
  }

  /**
   * leaseAsk is what the lease adds to the next take.
   *
   * @param waiting whether requests wait for it
   */
  leaseAsk({ leases, nowMs }: { leases: boolean; nowMs: number }, waiting: boolean): LeaseAsk {
    return this.#lease === null ? NO_LEASE : this.#lease.ask(nowMs, leases ? this.#force : null, waiting);
  }

  /** giveBack keeps granted tokens that no request used for the next take. */
  giveBack(tokens: number, epoch: number): void {
    if (tokens === 0) return;
    const { refund, refundEpoch } = this.#refund;
    this.#refund = {
      refund: refund + tokens,
      refundEpoch: refund === 0 ? epoch : Math.min(epoch, refundEpoch),
    };
  }

  /** Whether tokens are to go back, which is worth a take of its own. */
  get hasReturns(): boolean {
    return this.#refund.refund > 0 || this.#lease?.hasReturns === true;
  }

  /**
   * learn takes a reply in.
   *
   * @param trip when the take was sent, and when its reply came
   * @param short whether somebody was refused
   */
  learn(
    reply: TakeReply,
    { sentAtMs, nowMs }: { sentAtMs: number; nowMs: number },
    short: boolean,
    random: () => number,
  ): void {
    const { capacity, rateMicro, versionUs } = reply;
    // A reply to a take from before a change is older than what is known.
    if (prevails(reply, this.#force)) {
      this.#enforce({ capacity, rateMicro, versionUs, refillPerSecond: rateMicro / MICRO });
    }
    if (this.isStale(sentAtMs)) return;
    this.#levelMicro = reply.levelMicro;
    this.#levelAtMs = sentAtMs;
    this.#halfTripMs = Math.min(MAX_GRACE_MS, (nowMs - sentAtMs) / 2);
    this.#denying = true;
    if (!short || reply.levelMicro >= MICRO) return;
    const partMs = ((capacity * MICRO) / rateMicro / PACE_PART) * 1000;
    this.#paceUntilMs = sentAtMs + Math.min(PACE_MS, partMs) * (1 + random() * PACE_JITTER);
  }

  /** denyForMs is for how long `cost` tokens cannot be had, by what is known; ≤ 0: ask. */
  denyForMs(cost: number, nowMs: number): number {
    if (!this.#denying || this.#lease?.covers(cost, nowMs) === true) return 0;
    const { capacity, rateMicro } = this.#force;
    // More than the bucket ever holds comes only with other limits.
    const missing = cost > capacity ? Number.POSITIVE_INFINITY : cost * MICRO - this.#levelMicro;
    const emptyForMs = Math.min(MAX_DENY_MS, (missing / rateMicro) * 1000);
    const untilMs = this.#levelAtMs + this.#graceMs(cost) + emptyForMs;
    return (this.#paceUntilMs === null ? untilMs : Math.max(untilMs, this.#paceUntilMs)) - nowMs;
  }

  /**
   * The store looked at some time between sending and reply. Asked at the earliest possible moment it would refuse half of
   * the time, and be asked once more; asked a little later it has the token, which waits where the bucket has room for it.
   */
  #graceMs(cost: number): number {
    const { capacity, rateMicro } = this.#force;
    const roomMs = (((capacity - cost) * MICRO) / rateMicro) * 1000;
    return Math.max(0, Math.min(this.#halfTripMs, roomMs));
  }

  /** levelAt is the most that there can be by now, with what is held on lease; full where nothing was heard of it. */
  levelAt(nowMs: number): Level {
    const full = this.#force.capacity * MICRO;
    const heldMicro = (this.#lease?.held ?? 0) * MICRO;
    return { micro: Math.min(full, this.#microAt(nowMs) + heldMicro), rules: this.#force };
  }

  /** heardLevel is what a local share starts from; null: nothing was heard of the bucket. */
  heardLevel(nowMs: number): HeardLevel | null {
    if (this.#levelAtMs === Number.NEGATIVE_INFINITY) return null;
    const ratio = this.#microAt(nowMs) / (this.#force.capacity * MICRO);
    return { ratio, atUs: this.#levelAtMs * 1000 };
  }

  #microAt(nowMs: number): number {
    const flowed = ((nowMs - this.#levelAtMs) * this.#force.rateMicro) / 1000;
    return Math.min(this.#force.capacity * MICRO, this.#levelMicro + flowed);
  }

  /** Tokens leased under other limits go back: after a cut they may be more than the bucket has room for. */
  #enforce(rules: EffectiveLimits): void {
    if (!sameRules(rules, this.#force)) this.#lease?.returnAll();
    this.#force = rules;
  }
}
