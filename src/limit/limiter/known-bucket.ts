/**
 * What a worker knows of one bucket: the limits it asks for and those in force, the last level it heard, who waits for
 * the next reply, and until when no token can exist (the deny cache).
 */
import type { TakeReply } from '../../contract/buckets.ts';
import type { ClientMatch } from '../../contract/clients.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import { type EffectiveLimits, sameRules } from '../bucket/effective-limits.ts';
import type { Decision, DecisionSource, Level, Verdict } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { Pending } from '../store/deadline-queue.ts';
import { BIN_MS, LeaseAccount, type LeaseAsk, leasable, MAX_DEMAND_PER_REQUEST } from './lease.ts';
import type { KnownLevel } from './local-buckets.ts';

/** What a bucket must know of its policy. */
export interface KeyPolicy {
  readonly name: string;
  /** See keySuffixOf. */
  readonly keySuffix: string;
  readonly shadow: boolean;
  readonly onStoreFailure: PolicySettings['onStoreFailure'];
  refusalOf(state: KeyState, cost: number, nowMs: number): Decision | null;
  verdictOn(state: KeyState, source: DecisionSource): Verdict;
  count(decision: Decision): Decision;
}

/** A request that waits for the store. */
export interface Waiter extends Pending {
  readonly state: KeyState;
  readonly cost: number;
  readonly enqueuedMs: number;
  readonly resolve: (decision: Decision) => void;
}

/** The deny cache holds no longer, so that raised limits and a reset bucket are noticed. */
const MAX_DENY_MS = 1_000;
/** A dry bucket is asked at most once per this, or per quarter of its time to fill, whichever is shorter. */
const PACE_MS = 5;
const PACE_PART = 4;
/** A round trip may be long because this process stood still, which says nothing of the bucket. */
const MAX_GRACE_MS = 5;
/** Spread, so that the workers that were refused together do not ask together. */
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

/** Thousands of these are kept, nearly all of them of buckets without traffic: what only traffic needs is made when it comes. */
export class KeyState {
  readonly policy: KeyPolicy;
  /** Of its owner, for bucketKey. */
  readonly hash: string;
  /** The limits that this worker asks for, and what they were made from. */
  rules: EffectiveLimits;
  match: ClientMatch;
  revision: number;
  /** The newest limits known to be in force; the store's own where they are newer. */
  force: EffectiveLimits;
  /** One take in flight at a time; all who come meanwhile share the next one. */
  busy = false;
  /** Whether the limiter's next flush looks at it. */
  listed = false;
  /** The bucket is to hear of its limits, with a take of nothing where no other leaves. */
  untold = false;
  /** null: not asked for often enough. */
  lease: LeaseAccount | null = null;
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
  /** What was sent before says nothing any more: the bucket was refilled by an operator. */
  #resetAtMs: number | null = null;

  constructor(
    policy: KeyPolicy,
    hash: string,
    made: { rules: EffectiveLimits; match: ClientMatch; revision: number },
  ) {
    this.policy = policy;
    this.hash = hash;
    this.rules = made.rules;
    this.match = made.match;
    this.revision = made.revision;
    this.force = made.rules;
  }

  /** TakeRequest.key; made anew each time, since it is needed once per take. */
  get key(): string {
    return `{${this.hash}}${this.policy.keySuffix}`;
  }

  /** Those who wait for the next take, in order; some may have been settled meanwhile. */
  get queue(): readonly Waiter[] {
    return this.#queue ?? NO_WAITERS;
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

  /** takeQueue empties the queue; returned are those who still wait. */
  takeQueue(): readonly Waiter[] {
    const waiters = this.#queue?.filter((waiter) => !waiter.settled) ?? NO_WAITERS;
    this.#queue = null;
    return waiters;
  }

  /** changeRules takes limits from the configuration or the directory; the deny cache forgets. */
  changeRules(rules: EffectiveLimits): void {
    if (sameRules(rules, this.rules)) return;
    this.rules = rules;
    this.#denying = false;
    if (rules.versionUs < this.force.versionUs) return;
    this.#enforce(rules);
    this.#levelMicro = Math.min(this.#levelMicro, rules.capacity * MICRO);
  }

  /** reset forgets the level, the lease, and what replies to takes that are under way will say of either. */
  reset(nowMs: number): void {
    this.#resetAtMs = nowMs;
    this.#levelMicro = 0;
    this.#levelAtMs = Number.NEGATIVE_INFINITY;
    this.#paceUntilMs = null;
    this.#denying = false;
    this.lease?.drop();
  }

  /** isStale says whether a take was sent before the bucket was refilled. */
  isStale(sentAtMs: number): boolean {
    return this.#resetAtMs !== null && sentAtMs <= this.#resetAtMs;
  }

  /** want counts a request that asks for tokens; a bucket asked for often enough gets a lease account. */
  want(cost: number, nowMs: number): void {
    if (this.lease !== null) {
      this.lease.observe(cost, nowMs);
      return;
    }
    if (!leasable(this.force)) return;
    const sinceMs = this.#wantedSinceMs;
    const demand = Math.min(cost, MAX_DEMAND_PER_REQUEST);
    if (sinceMs === null || nowMs - sinceMs >= BIN_MS) {
      this.#wanted = demand;
      this.#wantedSinceMs = nowMs;
      return;
    }
    this.#wanted += demand;
    if (this.#wanted >= MIN_DEMAND_PER_BIN) this.lease = new LeaseAccount(sinceMs, this.#wanted);
  }

  /**
   * leaseAsk is what the lease adds to the next take.
   *
   * @param waiting whether requests wait for it
   */
  leaseAsk({ leases, nowMs }: { leases: boolean; nowMs: number }, waiting: boolean): LeaseAsk {
    return this.lease === null ? NO_LEASE : this.lease.ask(nowMs, leases ? this.force : null, waiting);
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

  /** takeRefund empties what giveBack kept. */
  takeRefund(): Refund {
    const refund = this.#refund;
    this.#refund = NO_REFUND;
    return refund;
  }

  /** Whether anything is to go back, or to be told, that is worth a take of its own. */
  get hasReturns(): boolean {
    return this.untold || this.#refund.refund > 0 || this.lease?.hasReturns === true;
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
    if (sameRules(reply, this.rules)) this.#enforce(this.rules);
    else this.#enforce({ capacity, rateMicro, versionUs, refillPerSecond: rateMicro / MICRO });
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
    if (!this.#denying || this.lease?.covers(cost, nowMs) === true) return 0;
    const { capacity, rateMicro } = this.force;
    // More than the bucket ever holds comes only with other limits.
    const missing = cost > capacity ? Number.POSITIVE_INFINITY : cost * MICRO - this.#levelMicro;
    const emptyForMs = Math.min(MAX_DENY_MS, (missing / rateMicro) * 1000);
    const untilMs = this.#levelAtMs + this.#graceMs(cost) + emptyForMs;
    return (this.#paceUntilMs === null ? untilMs : Math.max(untilMs, this.#paceUntilMs)) - nowMs;
  }

  /**
   * The store looked at some time between sending and reply. Asked from the earliest moment on, it would refuse half of the
   * time, and be asked once more; asked a little later it has the token, which waits where the bucket has room for it.
   */
  #graceMs(cost: number): number {
    const { capacity, rateMicro } = this.force;
    const roomMs = (((capacity - cost) * MICRO) / rateMicro) * 1000;
    return Math.max(0, Math.min(this.#halfTripMs, roomMs));
  }

  /** levelAt is the most that there can be by now, with what is held on lease; full where nothing was heard of it. */
  levelAt(nowMs: number): Level {
    const full = this.force.capacity * MICRO;
    const heldMicro = (this.lease?.held ?? 0) * MICRO;
    return { micro: Math.min(full, this.#microAt(nowMs) + heldMicro), rules: this.force };
  }

  /** known is what a local share starts from; null: nothing was heard of the bucket. */
  known(nowMs: number): KnownLevel | null {
    if (this.#levelAtMs === Number.NEGATIVE_INFINITY) return null;
    const ratio = this.#microAt(nowMs) / (this.force.capacity * MICRO);
    return { ratio, atUs: this.#levelAtMs * 1000 };
  }

  #microAt(nowMs: number): number {
    const flowed = ((nowMs - this.#levelAtMs) * this.force.rateMicro) / 1000;
    return Math.min(this.force.capacity * MICRO, this.#levelMicro + flowed);
  }

  /** Tokens leased under other limits go back: after a cut they may be more than the bucket has room for. */
  #enforce(rules: EffectiveLimits): void {
    if (!sameRules(rules, this.force)) this.lease?.returnAll();
    this.force = rules;
  }
}
