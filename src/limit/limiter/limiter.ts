/**
 * The limiter of a worker: may this caller have a token of this policy?
 *
 * 1. Lease tokens answer at once, and so does the deny cache while there can be no token.
 * 2. Otherwise the request joins the bucket's queue. One take per bucket is under way; all waiting requests share the next one,
 *    and all takes of one turn of the event loop share a call. That is exact, with a fraction of the calls.
 * 3. If the store is away or does not answer in time, the local share answers; at once while the breaker is open.
 *
 * Invariant: a token taken from the store is used once, put back once, or lost. So the limit of the bucket holds whatever
 * happens. The client never sees an error, unless a policy says `deny`.
 */
import type { TakeReply } from '../../contract/buckets.ts';
import { toError } from '../../contract/errors.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import { hashOf } from '../bucket/bucket-key.ts';
import type { Caller } from '../caller/identity.ts';
import { allow, type Decision, refuse, refuseUnchecked } from '../decision.ts';
import type { Breaker } from '../store/breaker.ts';
import { MICRO } from '../store/bucket-store.ts';
import { DeadlineQueue } from '../store/deadline-queue.ts';
import { StoreHealth, type StoreHealthOptions } from '../store/store-health.ts';
import { systemTimers } from '../timers.ts';
import type { KnownBucket, Waiter } from './known-bucket.ts';
import { LEASE_MS, Lot, RETURN_AFTER_MS } from './lease.ts';
import { LocalBuckets } from './local-buckets.ts';
import { PolicyBuckets } from './policy-buckets.ts';
import {
  answer,
  denyQueued,
  grantFromLease,
  grantToQueue,
  type PendingTake,
  shareGrant,
  startTake,
} from './take.ts';

/**
 * The most requests of a worker that may wait for the store. Further ones get the local share, which adds to what the store
 * grants (B30). It only bounds memory, at about 25 MB: no traffic should reach it.
 */
const MAX_WAITERS = 65_536;
/** Takes in one call of the store: half a millisecond of Redis. */
const MAX_BATCH = 128;
const ROUND_TRIP_SMOOTHING = 0.2;
/** All policies together remember at most this many times maxKeys buckets. */
const MAX_BUCKETS_FACTOR = 2;
/** The version of a policy that the current configuration does not have: any other is newer. */
const OLDEST_VERSION_US = 1;

/** `timeoutMs` limits the wait of a request in the queue, and of a call for its reply. */
interface LimiterOptions extends StoreHealthOptions {
  /** It replaces a worker that may have spent its local shares, so those of a bucket start empty until its server has answered. */
  replacement: boolean;
  /**
   * Local shares, and buckets remembered per policy, about 250 bytes each. With 100,000 a flood of new callers added 230 MiB to
   * a worker, with 20,000 it added 40; ten thousand callers in turn stay known.
   */
  maxKeys: number;
  /** That of the store before this one. Its local shares go on, so that a change of the store gives none away twice. */
  before: Limiter | undefined;
}

const DEFAULTS = {
  replacement: false,
  maxKeys: 20_000,
  before: undefined,
  random: Math.random,
  timers: systemTimers,
  defer: setImmediate,
} satisfies Partial<LimiterOptions>;

type GivenOptions = Omit<LimiterOptions, keyof typeof DEFAULTS> & Partial<LimiterOptions>;

export class Limiter {
  /** Without `before`: a limiter that has closed must not be kept. */
  readonly #options: Omit<LimiterOptions, 'before'>;
  readonly #clock: LimiterOptions['clock'];
  readonly #health: StoreHealth;
  readonly #local: LocalBuckets;
  readonly #waiting: DeadlineQueue<Waiter>;
  /** When a new bucket counts as empty: the start of a replacement that the bucket's server has not answered yet; else null. */
  readonly #emptyAtMs: (bucketHash: string) => number | null;
  #policies = new Map<string, PolicyBuckets>();
  #bucketsPerPolicy: number;
  #listed: KnownBucket[] = [];
  #flushing = false;
  #leases = true;
  /** Smoothed, over all calls. */
  #roundTripMs = 1;
  /** Decisions whose tokens have been given back. */
  readonly #returned = new WeakSet<Decision>();

  constructor(given: GivenOptions) {
    const { before, ...options }: LimiterOptions = { ...DEFAULTS, ...given };
    const { clock, replacement, maxKeys } = options;
    this.#options = options;
    this.#clock = clock;
    const startMs = clock.monotonicMs();
    this.#emptyAtMs = (hash) => (replacement && !this.#health.hasHeard(hash) ? startMs : null);
    this.#bucketsPerPolicy = maxKeys;
    this.#local = before === undefined ? new LocalBuckets(maxKeys) : before.#local;
    this.#health = new StoreHealth(options);
    this.#waiting = new DeadlineQueue(options, (waiter) => this.#answerAlone(waiter));
  }

  /** Whether some requests are decided without the store now; for the worker's report. */
  get breakerOpen(): boolean {
    return this.#health.away;
  }

  /**
   * configure applies the policies of a revision. It is called before the plan of that revision is used. Known buckets stay.
   * If leases are turned off, tokens on lease go back as they age.
   *
   * @param policyVersionUs the load time of the policies, on the database's clock
   */
  configure(
    { policies, leases }: { policies: readonly PolicySettings[]; leases: boolean },
    policyVersionUs: number,
  ): void {
    this.#leases = leases;
    const before = this.#policies;
    this.#policies = new Map();
    const { maxKeys } = this.#options;
    this.#bucketsPerPolicy = Math.min(maxKeys, (maxKeys * MAX_BUCKETS_FACTOR) / policies.length);
    for (const settings of policies) {
      const known = before.get(settings.name);
      known?.change(settings, policyVersionUs, this.#bucketsPerPolicy);
      if (known === undefined) this.#addPolicy(settings, policyVersionUs);
      else this.#policies.set(settings.name, known);
    }
  }

  /** shareAmong sets how many workers on all machines share the store, which divides the local share. 1 at first. */
  shareAmong(storeWorkers: number): void {
    this.#local.shares = Math.max(1, storeWorkers);
  }

  /**
   * take asks for `cost` tokens of a policy. It answers at once or by the deadline, and never throws or rejects. The limits are
   * those of the last configure(), by the policy's name, even if the caller's plan is older.
   */
  take(caller: Caller, policy: PolicySettings, cost: number): Decision | Promise<Decision> {
    const bucket = this.#bucketOf(caller, policy);
    const nowMs = this.#clock.monotonicMs();
    const decision =
      this.#takeLeased(bucket, cost, nowMs) ??
      bucket.refusal(cost, nowMs) ??
      this.#decideUnasked(bucket, cost);
    if (decision !== null) return bucket.policy.count(decision);
    return new Promise((resolve) => {
      const waiter = { bucket, cost, enqueuedMs: nowMs, resolve, settled: false };
      bucket.want(cost, nowMs);
      bucket.enqueue(waiter);
      this.#waiting.add(waiter);
      this.#list(bucket);
    });
  }

  /** refusalOf is the refusal by the deny cache, counted; null: there is none. For routes with several policies. */
  refusalOf(caller: Caller, policy: PolicySettings, cost: number): Decision | null {
    const bucket = this.#bucketOf(caller, policy);
    const refusal = bucket.refusal(cost, this.#clock.monotonicMs());
    return refusal === null ? null : bucket.policy.count(refusal);
  }

  /** peek shows what is known about a bucket, as an allowed decision that took nothing and is not counted. */
  peek(caller: Caller, policy: PolicySettings): Decision {
    return this.#bucketOf(caller, policy).peek(this.#clock.monotonicMs());
  }

  /** leased is how many tokens of a bucket this worker holds ahead; for explanations. */
  leased(caller: Caller, policy: PolicySettings): number {
    const { lease } = this.#bucketOf(caller, policy);
    return this.#leases && lease !== null ? lease.heldAt(this.#clock.monotonicMs()) : 0;
  }

  /**
   * alone says among how many workers a bucket's limit is divided while its store is away, and the tokens in this one's share; null: the
   * store is there. For explanations.
   */
  alone(caller: Caller, policy: PolicySettings): { among: number; level: number } | null {
    const bucket = this.#bucketOf(caller, policy);
    if (this.#isReachable(bucket)) return null;
    const { levelMicro } = this.#takeLocal(bucket, 0, this.#clock.monotonicMs());
    return { among: this.#local.shares, level: levelMicro / MICRO };
  }

  /**
   * giveBack returns the tokens of a decision, because another policy of the route refused the request. A second call for the
   * same decision does nothing. Lease tokens go back into their lot, those of the local share into the share. Tokens from the
   * store go to a request that waits for this bucket, or back to the store with the next take.
   */
  giveBack(caller: Caller, policy: PolicySettings, decision: Decision, cost: number): void {
    if (!decision.charged || this.#returned.has(decision)) return;
    this.#returned.add(decision);
    const bucket = this.#bucketOf(caller, policy);
    const { source, origin } = decision;
    const nowMs = this.#clock.monotonicMs();
    if (source === 'local') this.#local.giveBack(bucket.key, cost, Math.floor(nowMs * 1000));
    else if (origin instanceof Lot && bucket.lease?.unspend(origin, cost, nowMs) === true) return;
    else if (origin) bucket.giveBack(grantToQueue(bucket, cost, origin, nowMs), origin.epoch);
    if (bucket.hasReturns) this.#list(bucket);
  }

  /** resetBucket forgets the level, lease and local share of a bucket that was refilled in the store. @param key see TakeRequest.key */
  resetBucket(key: string): void {
    this.#local.forget(key);
    const hash = hashOf(key);
    for (const buckets of this.#policies.values()) {
      const bucket = buckets.known.get(hash);
      if (bucket?.key === key) bucket.reset(this.#clock.monotonicMs());
    }
  }

  /**
   * finishWaiting resolves once every request that waits now has its answer. It is called before close where another store has taken
   * this one's place; no request comes any more.
   */
  finishWaiting(): Promise<void> {
    this.#leases = false;
    // As late as the deadline of the last one: whatever waits longer has its answer by then.
    return new Promise((resolve) => {
      new DeadlineQueue(this.#options, () => resolve()).add({ settled: false });
    });
  }

  /**
   * close answers all waiting requests from the local share, as well as later ones, and stops the probes. Lease tokens go
   * back, if the store answers by the deadline.
   */
  async close(): Promise<void> {
    this.#waiting.close();
    const nowMs = this.#clock.monotonicMs();
    const calls = new Map<number, PendingTake[]>();
    let left = MAX_BATCH;
    for (const bucket of [...this.#policies.values()].flatMap(({ known }) => [...known.values()])) {
      bucket.lease?.returnAll();
      if (left === 0 || bucket.lease === null || !this.#isReachable(bucket)) continue;
      const take = startTake(bucket, false, nowMs);
      if (take === null) continue;
      addTo(calls, this.#health.slotOf(bucket.hash), take);
      left--;
    }
    this.#health.close();
    await Promise.all([...calls.values()].map((takes) => this.#ask(takes)));
  }

  /** From the lease, unless requests wait already. */
  #takeLeased(bucket: KnownBucket, cost: number, nowMs: number): Decision | null {
    const { lease } = bucket;
    if (lease === null || !this.#leases || bucket.queue.length > 0) return null;
    const lot = lease.spend(cost, nowMs);
    if (lot === null) return null;
    lease.observe(cost, nowMs);
    if (lease.runsLow(nowMs, this.#roundTripMs)) this.#list(bucket);
    return allow(bucket, 'lease', bucket.levelAt(nowMs), lot);
  }

  /** If the store is away, or too many requests wait for it; null: ask the store. */
  #decideUnasked(bucket: KnownBucket, cost: number): Decision | null {
    const reachable = this.#isReachable(bucket);
    if (reachable && this.#waiting.size < MAX_WAITERS) return null;
    if (!reachable) this.#health.skipped();
    return this.#decideAlone(bucket, cost);
  }

  #addPolicy(settings: PolicySettings, versionUs: number): PolicyBuckets {
    const made = new PolicyBuckets(settings, versionUs, this.#options.metrics, this.#bucketsPerPolicy);
    this.#policies.set(settings.name, made);
    return made;
  }

  /** An older plan may have a policy that is gone. It is added again, until the next configure(). */
  #bucketOf(caller: Caller, policy: PolicySettings): KnownBucket {
    const buckets = this.#policies.get(policy.name) ?? this.#addPolicy(policy, OLDEST_VERSION_US);
    return buckets.bucketOf(caller, this.#emptyAtMs);
  }

  #isReachable(bucket: KnownBucket): boolean {
    return this.#health.isReachable(this.#health.breakerOf(this.#health.slotOf(bucket.hash)));
  }

  #list(bucket: KnownBucket): void {
    if (!bucket.list()) return;
    this.#listed.push(bucket);
    if (this.#flushing) return;
    this.#flushing = true;
    // After the poll phase, so that all requests which this turn of the loop has read share the flush.
    this.#options.defer(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    const buckets = this.#listed;
    this.#listed = [];
    const nowMs = this.#clock.monotonicMs();
    const calls = new Map<number, PendingTake[]>();
    for (const bucket of buckets) {
      const slot = this.#health.slotOf(bucket.hash);
      if (!this.#health.isReachable(this.#health.breakerOf(slot))) {
        for (const waiter of bucket.abandon()) this.#answerAlone(waiter);
        continue;
      }
      const take = startTake(bucket, this.#leases, nowMs);
      if (take === null) continue;
      const takes = addTo(calls, slot, take);
      if (takes.length < MAX_BATCH) continue;
      calls.delete(slot);
      this.#send(slot, takes);
    }
    for (const [slot, takes] of calls) this.#send(slot, takes);
  }

  #send(slot: number, takes: PendingTake[]): void {
    const sentAtMs = this.#clock.monotonicMs();
    // The slot may move to another server during the call.
    const breaker = this.#health.breakerOf(slot);
    this.#ask(takes)
      .then((results) => this.#land(breaker, takes, results, sentAtMs))
      .catch((thrown: unknown) =>
        this.#options.logger.error({ err: toError(thrown) }, 'a store call failed unexpectedly'),
      );
  }

  #ask(takes: readonly PendingTake[]): Promise<(TakeReply | Error)[]> {
    return this.#health.ask(takes.map(({ request }) => request));
  }

  #land(
    breaker: Breaker,
    takes: readonly PendingTake[],
    results: (TakeReply | Error)[],
    sentAtMs: number,
  ): void {
    // First, so that no error below can keep a bucket from asking again.
    for (const { bucket } of takes) bucket.stopAsking();
    const nowMs = this.#clock.monotonicMs();
    const enqueuedMs = Math.min(...takes.map((take) => take.waiters[0]?.enqueuedMs ?? sentAtMs));
    this.#health.judge(breaker, results, sentAtMs, nowMs - enqueuedMs);
    this.#roundTripMs += (nowMs - sentAtMs - this.#roundTripMs) * ROUND_TRIP_SMOOTHING;
    for (const [index, take] of takes.entries()) {
      const { bucket, waiters } = take;
      const result = results[index];
      try {
        if (result === undefined || result instanceof Error) {
          for (const waiter of waiters) this.#answerAlone(waiter);
        } else this.#share(take, result, sentAtMs);
        // Requests that arrived meanwhile do not ask for what cannot be there. If the store is away, the next flush answers them.
        denyQueued(bucket, nowMs);
      } catch (thrown) {
        this.#options.logger.error({ err: toError(thrown) }, 'a store reply was not applied');
      }
      if (bucket.queue.length > 0 || bucket.hasReturns) this.#list(bucket);
    }
  }

  #share(take: PendingTake, reply: TakeReply, sentAtMs: number): void {
    const { bucket, request } = take;
    const nowMs = this.#clock.monotonicMs();
    bucket.learn(reply, { sentAtMs, nowMs }, reply.granted < request.need, this.#options.random);
    if (bucket.lease !== null && request.ahead > 0) {
      bucket.lease.lent(request.ahead, reply.ahead, nowMs);
      if (reply.ahead > 0 && !bucket.isStale(sentAtMs)) {
        bucket.lease.add(new Lot(reply.ahead, reply.epoch, sentAtMs + LEASE_MS));
        // Plus 1: timers have whole milliseconds and may fire up to one too early.
        const ageInMs = Math.ceil(sentAtMs + RETURN_AFTER_MS - nowMs) + 1;
        this.#options.timers.after(Math.max(1, ageInMs), () => this.#returnAged(bucket));
      }
    }
    shareGrant(take, reply, nowMs);
    grantFromLease(bucket, nowMs);
  }

  /** Returns lease tokens in time although no request comes. */
  #returnAged(bucket: KnownBucket): void {
    if (bucket.lease?.age(this.#clock.monotonicMs()) === true) this.#list(bucket);
  }

  #answerAlone(waiter: Waiter): void {
    if (!waiter.settled) answer(waiter, this.#decideAlone(waiter.bucket, waiter.cost));
  }

  /** By the policy's `onStoreFailure`. */
  #decideAlone(bucket: KnownBucket, cost: number): Decision {
    const { onStoreFailure } = bucket.policy.settings;
    const nowMs = this.#clock.monotonicMs();
    if (onStoreFailure === 'allow') return allow(bucket, 'local', bucket.levelAt(nowMs));
    if (onStoreFailure === 'deny') return refuseUnchecked(bucket, bucket.levelAt(nowMs));
    const reply = this.#takeLocal(bucket, cost, nowMs);
    const level = { micro: reply.levelMicro, rules: reply };
    if (reply.granted === cost) return allow(bucket, 'local', level, null);
    return refuse(bucket, 'local', level, cost);
  }

  #takeLocal(bucket: KnownBucket, cost: number, nowMs: number): TakeReply {
    return this.#local.take(
      bucket.key,
      bucket.limits,
      cost,
      bucket.heardLevel(nowMs),
      Math.floor(nowMs * 1000),
    );
  }
}

/** Returns all takes of that slot. */
function addTo(calls: Map<number, PendingTake[]>, slot: number, take: PendingTake): PendingTake[] {
  const takes = calls.get(slot) ?? [];
  if (takes.push(take) === 1) calls.set(slot, takes);
  return takes;
}
