/**
 * What a worker knows of one bucket: its limits, the level that the store told last, who waits for the next
 * reply, and until when there can be no token (the deny cache).
 *
 * At most one take per bucket is under way; requests that come meanwhile share the next one. The states:
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
import { allow, type Decision, type Level, refuse } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { Pending } from '../store/deadline-queue.ts';
import { BIN_MS, LeaseAccount, type LeaseAsk, leasable, MAX_DEMAND_PER_REQUEST, NO_LEASE } from './lease.ts';
import type { HeardLevel } from './local-buckets.ts';

/** What a bucket must know of its policy; implemented by PolicyBuckets. */
export interface BucketPolicy {
  readonly settings: PolicySettings;
  /** See keySuffixOf. */
  readonly keySuffix: string;
  count(decision: Decision): Decision;
}

/** A request that waits for the store. */
export interface Waiter extends Pending {
  readonly bucket: KnownBucket;
  readonly cost: number;
  readonly enqueuedMs: number;
  readonly resolve: (decision: Decision) => void;
}

/** Limits by the configuration and the directory, and what they were made from. */
interface ConfiguredLimits {
  readonly rules: EffectiveLimits;
  readonly match: ClientMatch;
  readonly revision: number;
}

/** The deny cache asks the store this often all the same, so that raised limits and a reset bucket are noticed. */
const MAX_DENY_MS = 1_000;
/** An empty bucket is asked at most once per this, or per quarter of its time to fill, whichever is shorter. */
const PACE_MS = 5;
const PACE_PART = 4;
/** Workers that were refused together must not ask together. */
const PACE_JITTER = 0.2;
/** A longer half of a round trip says that this process stood still, and nothing of the bucket. */
const MAX_GRACE_MS = 5;
/** Tokens wanted within BIN_MS that make a bucket worth a lease account. */
const MIN_DEMAND_PER_BIN = 8;
const NEVER_MS = Number.NEGATIVE_INFINITY;
const NO_WAITERS: readonly Waiter[] = [];

/** Thousands of these are kept, most without traffic: what only traffic needs is made when it comes. */
export class KnownBucket {
  readonly policy: BucketPolicy;
  /** Of its owner, for bucketKey. */
  readonly hash: string;
  #state: 'idle' | 'listed' | 'asking' = 'idle';
  #rules: EffectiveLimits;
  #match: ClientMatch;
  #revision: number;
  #force: EffectiveLimits;
  #lease: LeaseAccount | null = null;
  #queue: Waiter[] | null = null;
  /** Demand while there is no lease account. */
  #wanted = 0;
  #wantedSinceMs: number | null = null;
  /** Granted tokens that no request used, and the store's epoch of the oldest. They go back with the next take. */
  #refund = 0;
  #refundEpoch = 0;
  #levelMicro = 0;
  /** When the take was sent whose reply told the level, the earliest moment it can be true for; NEVER_MS: not heard yet. */
  #levelAtMs = NEVER_MS;
  /** Half of that take's round trip, at most MAX_GRACE_MS. */
  #halfTripMs = 0;
  #paceUntilMs = NEVER_MS;
  /** false: the level still serves the local share, but refuses nobody. */
  #denying = false;
  /** An operator refilled the bucket then: replies to takes that were sent earlier say nothing any more. */
  #resetAtMs = NEVER_MS;

  /** @param emptyAtMs since when the bucket counts as empty, until the store is heard; null: nothing is known */
  constructor(policy: BucketPolicy, hash: string, limits: ConfiguredLimits, emptyAtMs: number | null = null) {
    this.policy = policy;
    this.hash = hash;
    this.#rules = limits.rules;
    this.#match = limits.match;
    this.#revision = limits.revision;
    this.#force = limits.rules;
    if (emptyAtMs !== null) this.#levelAtMs = emptyAtMs;
  }

  /** TakeRequest.key; not kept, since it is needed once per take. */
  get key(): string {
    return `{${this.hash}}${this.policy.keySuffix}`;
  }

  /**
   * The newest limits known: the configured ones, or the store's where those are newer. Takes carry them, so
   * that an expired bucket is never made anew with older ones.
   */
  get force(): EffectiveLimits {
    return this.#force;
  }

  /** null: the bucket is not asked for often enough. */
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

  /** startAsking hands over the queue and the refund for a take. */
  startAsking(): { waiters: readonly Waiter[]; refund: number; refundEpoch: number } {
    this.#state = 'asking';
    const refund = this.#refund;
    this.#refund = 0;
    return { waiters: this.drainQueue(), refund, refundEpoch: refund === 0 ? 0 : this.#refundEpoch };
  }

  stopAsking(): void {
    this.#state = 'idle';
  }

  /** abandon empties the queue of a listed bucket whose store is away. A refund would come too late once it is back. */
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

  /** update takes configured limits; where they are others, the deny cache is forgotten. */
  update({ rules, match, revision }: ConfiguredLimits): void {
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
    this.#levelAtMs = NEVER_MS;
    this.#paceUntilMs = NEVER_MS;
    this.#denying = false;
    this.#lease?.drop();
  }

  /** isStale says whether a take was sent before an operator refilled the bucket. */
  isStale(sentAtMs: number): boolean {
    return sentAtMs <= this.#resetAtMs;
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

  /** leaseAsk is what the lease adds to the next take; `waiting`: requests wait for it. */
  leaseAsk(leases: boolean, nowMs: number, waiting: boolean): LeaseAsk {
    return this.#lease === null ? NO_LEASE : this.#lease.ask(nowMs, leases ? this.#force : null, waiting);
  }

  /** giveBack keeps granted tokens that no request used for the next take. */
  giveBack(tokens: number, epoch: number): void {
    if (tokens === 0) return;
    this.#refundEpoch = this.#refund === 0 ? epoch : Math.min(epoch, this.#refundEpoch);
    this.#refund += tokens;
  }

  /** Whether tokens are to go back, which is worth a take of its own. */
  get hasReturns(): boolean {
    return this.#refund > 0 || this.#lease?.hasReturns === true;
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
    // The reply to a take from before a change is older than what is known.
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

  /**
   * refusal is the deny cache: the refusal of tokens that cannot be there yet; null: the store must be asked.
   * It counts nothing.
   */
  refusal(cost: number, nowMs: number): Decision | null {
    const deniedForMs = this.#denyForMs(cost, nowMs);
    return deniedForMs <= 0 ? null : refuse(this, 'deny_cache', this.levelAt(nowMs), cost, deniedForMs);
  }

  /** peek tells what is known of the bucket: an allowed decision that took nothing. It counts nothing. */
  peek(nowMs: number): Decision {
    return allow(this, 'deny_cache', this.levelAt(nowMs));
  }

  /** levelAt is the most that there can be by now, with what is held on lease; full where nothing was heard of it. */
  levelAt(nowMs: number): Level {
    const full = this.#force.capacity * MICRO;
    const heldMicro = (this.#lease?.held ?? 0) * MICRO;
    return { micro: Math.min(full, this.#microAt(nowMs) + heldMicro), rules: this.#force };
  }

  /** heardLevel is what a local share starts from; null: nothing was heard of the bucket. */
  heardLevel(nowMs: number): HeardLevel | null {
    if (this.#levelAtMs === NEVER_MS) return null;
    const ratio = this.#microAt(nowMs) / (this.#force.capacity * MICRO);
    return { ratio, atUs: this.#levelAtMs * 1000 };
  }

  /** For how long `cost` tokens cannot be had, by what is known; ≤ 0: ask. */
  #denyForMs(cost: number, nowMs: number): number {
    if (!this.#denying || this.#lease?.covers(cost, nowMs) === true) return 0;
    const { capacity, rateMicro } = this.#force;
    // A cost above the capacity can pass only under other limits. It is asked for once in a while all the same.
    const missing = cost > capacity ? Number.POSITIVE_INFINITY : cost * MICRO - this.#levelMicro;
    const emptyForMs = Math.min(MAX_DENY_MS, (missing / rateMicro) * 1000);
    return Math.max(this.#levelAtMs + this.#graceMs(cost) + emptyForMs, this.#paceUntilMs) - nowMs;
  }

  /**
   * The store looked at some time between the sending and the reply. Asked at the earliest possible moment it
   * would refuse half of the time and be asked once more. So the question comes a little later, where the
   * bucket has room for the token meanwhile.
   */
  #graceMs(cost: number): number {
    const { capacity, rateMicro } = this.#force;
    const roomMs = (((capacity - cost) * MICRO) / rateMicro) * 1000;
    return Math.max(0, Math.min(this.#halfTripMs, roomMs));
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
