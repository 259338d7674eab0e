/**
 * What a worker knows about one bucket: its limits, the last level that the store reported, the requests that
 * wait, and how long there can be no token (the deny cache).
 *
 * At most one take per bucket is under way; requests that arrive meanwhile share the next one. The states:
 *
 * idle: there is nothing to ask. `list` → listed, when a request waits or tokens must go back.
 * listed: the limiter's next flush handles it. `startAsking` → asking; `abandon` → idle, when the store is away.
 * asking: a take is under way. `stopAsking` → idle, after its reply or failure, or when there was nothing to send.
 */
import type { TakeReply } from '../../contract/buckets.ts';
import type { ClientMatch } from '../../contract/clients.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import { prevails } from '../bucket/bucket-state.ts';
import { type EffectiveLimits, sameRules } from '../bucket/effective-limits.ts';
import { allow, type Decision, type Level, refuse } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { Pending } from '../store/deadline-queue.ts';
import { BIN_MS, LeaseAccount, type LeaseAsk, leasable, MAX_DEMAND_PER_REQUEST, NO_LEASE } from './lease.ts';
import type { HeardLevel } from './local-buckets.ts';

/** What a bucket needs from its policy; implemented by PolicyBuckets. */
export interface BucketPolicy {
  readonly settings: PolicySettings;
  /** The policy's own limits, for callers that are not clients. A change of the settings makes another object. */
  readonly limits: EffectiveLimits;
  /** See keySuffixOf. */
  readonly keySuffix: string;
  /** limitsOf returns the configured limits of a caller: its own, or the policy's. */
  limitsOf(match: ClientMatch): EffectiveLimits;
  count(decision: Decision): Decision;
}

/** A request that waits for the store. */
export interface Waiter extends Pending {
  readonly bucket: KnownBucket;
  readonly cost: number;
  readonly enqueuedMs: number;
  readonly resolve: (decision: Decision) => void;
}

/** The deny cache lets a request ask the store at least this often, to notice raised limits and a reset bucket. */
const MAX_DENY_MS = 1_000;
/** The shortest time between two takes of an empty bucket: this, or a quarter of its time to fill, if that is shorter. */
const PACE_MS = 5;
const PACE_PART = 4;
/** So that workers that were refused together do not ask again together. */
const PACE_JITTER = 0.2;
/** A longer half of a round trip means that this process stood still; it says nothing about the bucket. */
const MAX_GRACE_MS = 5;
/** Tokens wanted within BIN_MS that make a bucket worth a lease account. */
const MIN_DEMAND_PER_BIN = 8;
const NEVER_MS = Number.NEGATIVE_INFINITY;
const NO_WAITERS: readonly Waiter[] = [];

/** There are thousands, most without traffic, so what only traffic needs is created on demand. */
export class KnownBucket {
  readonly policy: BucketPolicy;
  /** The hash of its owner, see hashBucketName. */
  readonly hash: string;
  #state: 'idle' | 'listed' | 'asking' = 'idle';
  /** The configured limits, and what they were made from: see follow. */
  #configured: EffectiveLimits;
  #match: ClientMatch;
  #policyLimits: EffectiveLimits;
  #limits: EffectiveLimits;
  #lease: LeaseAccount | null = null;
  #queue: Waiter[] | null = null;
  /** The demand, until there is a lease account. */
  #wanted = 0;
  #wantedSinceMs: number | null = null;
  /** Granted tokens that no request used, and the epoch of the oldest. They go back with the next take. */
  #refund = 0;
  #refundEpoch = 0;
  #levelMicro = 0;
  /** When the take was sent whose reply reported the level: the level is at least that recent. NEVER_MS: no reply yet. */
  #levelAtMs = NEVER_MS;
  /** Half of that take's round trip, at most MAX_GRACE_MS. */
  #halfTripMs = 0;
  #paceUntilMs = NEVER_MS;
  /** Whether the level may refuse requests; false: it only serves the local share. */
  #denying = false;
  /** When an operator last refilled the bucket. Replies to takes sent before that are void. */
  #resetAtMs = NEVER_MS;

  /** @param emptyAtMs when the bucket counts as empty, until the store answers; null: nothing is known */
  constructor(policy: BucketPolicy, hash: string, match: ClientMatch, emptyAtMs: number | null) {
    this.policy = policy;
    this.hash = hash;
    this.#match = match;
    this.#policyLimits = policy.limits;
    this.#configured = policy.limitsOf(match);
    this.#limits = this.#configured;
    if (emptyAtMs !== null) this.#levelAtMs = emptyAtMs;
  }

  /** As in TakeRequest.key. Not stored, because only takes need it. */
  get key(): string {
    return `{${this.hash}}${this.policy.keySuffix}`;
  }

  /**
   * The newest known limits: the configured ones, or the store's if those are newer. Takes carry them, so that an
   * expired bucket is never created again with older limits.
   */
  get limits(): EffectiveLimits {
    return this.#limits;
  }

  /** null: there is too little demand for one. */
  get lease(): LeaseAccount | null {
    return this.#lease;
  }

  /** The requests that wait for the next take, in order. Some may have been answered already. */
  get queue(): readonly Waiter[] {
    return this.#queue ?? NO_WAITERS;
  }

  /** list says whether the caller must put the bucket on the list for the next flush. */
  list(): boolean {
    if (this.#state !== 'idle') return false;
    this.#state = 'listed';
    return true;
  }

  /** startAsking hands over the queue and the refund to a take. */
  startAsking(): { waiters: readonly Waiter[]; refund: number; refundEpoch: number } {
    this.#state = 'asking';
    const refund = this.#refund;
    this.#refund = 0;
    return { waiters: this.drainQueue(), refund, refundEpoch: refund === 0 ? 0 : this.#refundEpoch };
  }

  stopAsking(): void {
    this.#state = 'idle';
  }

  /** abandon empties the queue of a listed bucket whose store is away. Its refund is lost: it would come too late. */
  abandon(): readonly Waiter[] {
    const { waiters } = this.startAsking();
    this.stopAsking();
    return waiters;
  }

  enqueue(waiter: Waiter): void {
    this.#queue ??= [];
    this.#queue.push(waiter);
  }

  /** keepWaiting filters the queue. */
  keepWaiting(keeps: (waiter: Waiter) => boolean): void {
    if (this.#queue === null) return;
    const kept = this.#queue.filter(keeps);
    this.#queue = kept.length === 0 ? null : kept;
  }

  /** drainQueue empties the queue and returns the requests that still wait. */
  drainQueue(): readonly Waiter[] {
    const waiters = this.#queue?.filter((waiter) => !waiter.settled) ?? NO_WAITERS;
    this.#queue = null;
    return waiters;
  }

  /** follow takes over the configured limits of the bucket's owner, before each use. A change clears the deny cache. */
  follow(match: ClientMatch): void {
    const { limits } = this.policy;
    if (this.#match === match && this.#policyLimits === limits) return;
    this.#match = match;
    this.#policyLimits = limits;
    const rules = this.policy.limitsOf(match);
    if (sameRules(rules, this.#configured)) return;
    this.#configured = rules;
    this.#denying = false;
    if (rules.versionUs < this.#limits.versionUs) return;
    this.#enforce(rules);
    this.#levelMicro = Math.min(this.#levelMicro, rules.capacity * MICRO);
  }

  /** reset drops the level, the refund and the lease, and makes the replies to takes under way void. */
  reset(nowMs: number): void {
    this.#resetAtMs = nowMs;
    this.#refund = 0;
    this.#levelAtMs = NEVER_MS;
    this.#paceUntilMs = NEVER_MS;
    this.#lease?.drop();
  }

  /** isStale says whether a take was sent before the last reset. */
  isStale(sentAtMs: number): boolean {
    return sentAtMs <= this.#resetAtMs;
  }

  /** want counts the demand of a request that will ask the store; enough of it creates the lease account. */
  want(cost: number, nowMs: number): void {
    if (this.#lease !== null) {
      this.#lease.observe(cost, nowMs);
      return;
    }
    if (!leasable(this.#limits)) return;
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

  /** leaseAsk is the lease's part of the next take; `waiting`: requests wait for that take. */
  leaseAsk(leases: boolean, nowMs: number, waiting: boolean): LeaseAsk {
    return this.#lease === null ? NO_LEASE : this.#lease.ask(nowMs, leases ? this.#limits : null, waiting);
  }

  /** giveBack keeps granted tokens that no request used, until the next take returns them. */
  giveBack(tokens: number, epoch: number): void {
    if (tokens === 0) return;
    this.#refundEpoch = this.#refund === 0 ? epoch : Math.min(epoch, this.#refundEpoch);
    this.#refund += tokens;
  }

  /** Whether tokens must go back, which is worth a take of its own. */
  get hasReturns(): boolean {
    return this.#refund > 0 || this.#lease?.hasReturns === true;
  }

  /**
   * learn applies a reply.
   *
   * @param trip when the take was sent and when its reply arrived
   * @param short whether the store refused anything
   */
  learn(
    reply: TakeReply,
    { sentAtMs, nowMs }: { sentAtMs: number; nowMs: number },
    short: boolean,
    random: () => number,
  ): void {
    const { capacity, rateMicro, versionUs } = reply;
    if (prevails(reply, this.#limits)) {
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

  /**
   * refusal is the deny cache: it refuses tokens that cannot be there yet. null: the store must be asked.
   * The caller counts the decision.
   */
  refusal(cost: number, nowMs: number): Decision | null {
    const deniedForMs = this.#denyForMs(cost, nowMs);
    return deniedForMs <= 0 ? null : refuse(this, 'deny_cache', this.levelAt(nowMs), cost, deniedForMs);
  }

  /** peek shows what is known as an allowed decision that took nothing and is not counted. */
  peek(nowMs: number): Decision {
    return allow(this, 'deny_cache', this.levelAt(nowMs));
  }

  /** levelAt is the highest possible level now, including tokens on lease; full before the first reply. */
  levelAt(nowMs: number): Level {
    const full = this.#limits.capacity * MICRO;
    const heldMicro = (this.#lease?.held ?? 0) * MICRO;
    return { micro: Math.min(full, this.#microAt(nowMs) + heldMicro), rules: this.#limits };
  }

  /** heardLevel is what a local share starts from; null: the store has not answered about this bucket. */
  heardLevel(nowMs: number): HeardLevel | null {
    if (this.#levelAtMs === NEVER_MS) return null;
    const ratio = this.#microAt(nowMs) / (this.#limits.capacity * MICRO);
    return { ratio, atUs: this.#levelAtMs * 1000 };
  }

  /** How long `cost` tokens cannot be there, as far as is known; ≤ 0: ask the store. */
  #denyForMs(cost: number, nowMs: number): number {
    if (!this.#denying || this.#lease?.covers(cost, nowMs) === true) return 0;
    const { capacity, rateMicro } = this.#limits;
    // A cost above the capacity can pass only under other limits. The store is asked now and then all the same.
    const missing = cost > capacity ? Number.POSITIVE_INFINITY : cost * MICRO - this.#levelMicro;
    const emptyForMs = Math.min(MAX_DENY_MS, (missing / rateMicro) * 1000);
    return Math.max(this.#levelAtMs + this.#graceMs(cost) + emptyForMs, this.#paceUntilMs) - nowMs;
  }

  /**
   * The reported level is from some moment between sending and reply. A take at the earliest possible moment would
   * be refused half of the time. So it waits a little longer, as long as the bucket has room for the token.
   */
  #graceMs(cost: number): number {
    const { capacity, rateMicro } = this.#limits;
    const roomMs = (((capacity - cost) * MICRO) / rateMicro) * 1000;
    return Math.max(0, Math.min(this.#halfTripMs, roomMs));
  }

  #microAt(nowMs: number): number {
    const flowed = ((nowMs - this.#levelAtMs) * this.#limits.rateMicro) / 1000;
    return Math.min(this.#limits.capacity * MICRO, this.#levelMicro + flowed);
  }

  /** Tokens leased under other limits go back: the bucket may have no room for them any more. */
  #enforce(rules: EffectiveLimits): void {
    if (!sameRules(rules, this.#limits)) this.#lease?.returnAll();
    this.#limits = rules;
  }
}
