/**
 * The limiter of a worker: may this caller have a token of this policy?
 *
 * 1. The deny cache answers at once while no token can exist.
 * 2. Otherwise the take joins the bucket's queue. One take per bucket is in flight; all who wait share the next one, and
 *    all buckets of one turn of the event loop share one call (coalescing: exact, and a fraction of the calls).
 * 3. Where the store is away, or does not answer in time, the local share answers, at once while the breaker is open.
 *
 * A token taken from the store is used or put back, at most once, or lost: so the bound of the bucket holds whatever
 * happens. The client never sees an error, unless a policy says `deny`.
 */
import type { TakeReply } from '../../contract/buckets.ts';
import type { Clock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { WorkerMetrics } from '../../infra/metrics.ts';
import { hashOf } from '../bucket/bucket-key.ts';
import type { Caller } from '../caller/identity.ts';
import { allow, allowUncharged, type Decision, refuse, refuseUnchecked } from '../decision.ts';
import { type BreakerTimers, realTimers } from '../store/breaker.ts';
import type { BucketStore } from '../store/bucket-store.ts';
import { DeadlineQueue } from '../store/deadline-queue.ts';
import { StoreHealth } from '../store/store-health.ts';
import type { KeyState, Waiter } from './known-bucket.ts';
import { LEASE_MS, Lot, RETURN_AFTER_MS } from './lease.ts';
import { LeaseAging } from './lease-aging.ts';
import { LimitsSpread } from './limits-spread.ts';
import { LocalBuckets } from './local-buckets.ts';
import { byOwner, departureOf, type Flight, requestOf } from './pending-take.ts';
import { PolicyBuckets } from './policy-buckets.ts';
import { denyQueued, serveFlight, serveFromLease, serveQueue, settle } from './share-grant.ts';

/**
 * Requests of a worker that may wait for the store; the others get the local share, which adds to what the store grants
 * (B30). So it is no bound that traffic should meet, only one for memory: about 25 MB. All may wait for one bucket.
 */
const MAX_WAITERS = 65_536;
/** Takes in one call of the store at most: half a millisecond of Redis. */
const MAX_BATCH = 128;
const ROUND_TRIP_SMOOTHING = 0.2;
/**
 * Per policy: about 250 bytes each. Ten thousand callers in turn stay known; with 100,000 a flood of new callers
 * added 230 MiB to a worker, with this 40.
 */
const DEFAULT_MAX_KEYS = 20_000;
/** All policies together, in DEFAULT_MAX_KEYS. */
const MAX_KEYS_FACTOR = 2;
/** Version of a policy that the current configuration does not know: anything else wins. */
const OLDEST_VERSION_US = 1;

interface LimiterOptions {
  /** Stays its maker's to close. */
  store: BucketStore;
  /** How long a request may wait for the store, from joining the queue; the store's own deadline is the same. */
  timeoutMs: number;
  /** Workers of this machine, and machines that share the store. */
  workers: number;
  instances: number;
  clock: Clock;
  metrics: WorkerMetrics;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** The setting `rateLimit.leases`; default true. */
  leases?: boolean;
  random?: () => number;
  timers?: BreakerTimers;
  /** Runs fn once the event loop has polled its sockets; default setImmediate. */
  defer?: (fn: () => void) => void;
  /** Buckets remembered per policy, and local shares; default DEFAULT_MAX_KEYS. */
  maxKeys?: number;
}

export class Limiter {
  readonly #clock: Clock;
  readonly #metrics: WorkerMetrics;
  readonly #logger: LimiterOptions['logger'];
  readonly #random: () => number;
  readonly #defer: (fn: () => void) => void;
  readonly #maxKeys: number;
  readonly #health: StoreHealth;
  readonly #local: LocalBuckets;
  readonly #waiting: DeadlineQueue<Waiter>;
  #policies = new Map<string, PolicyBuckets>();
  #dirty: KeyState[] = [];
  #flushing = false;
  readonly #sharded: boolean;
  #leases: boolean;
  readonly #aging: LeaseAging<KeyState>;
  readonly #spread: LimitsSpread;
  /** Smoothed, of all takes. */
  #roundTripMs = 1;
  /** Decisions whose tokens have been given back. */
  readonly #returned = new WeakSet<Decision>();

  constructor(options: LimiterOptions) {
    const { store, workers, instances, clock, metrics, logger, timeoutMs, timers = realTimers } = options;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#logger = logger;
    this.#random = options.random ?? Math.random;
    this.#defer = options.defer ?? setImmediate;
    this.#maxKeys = options.maxKeys ?? DEFAULT_MAX_KEYS;
    this.#leases = options.leases ?? true;
    this.#sharded = store.sharded ?? false;
    this.#aging = new LeaseAging({ clock, timers, onDue: (state) => this.#returnAged(state) });
    this.#spread = new LimitsSpread({ timers, tell: (state) => this.#tell(state) });
    this.#local = new LocalBuckets({ shares: workers * instances, maxBuckets: this.#maxKeys });
    this.#health = new StoreHealth({ store, clock, metrics, logger, random: this.#random, timers });
    this.#waiting = new DeadlineQueue({
      patienceMs: timeoutMs,
      clock,
      defer: this.#defer,
      timers: options.timers,
      onDue: (waiter) => settle(waiter, this.#decideAlone(waiter)),
    });
  }

  /** Whether requests go without the store now; for the worker's report. */
  get breakerOpen(): boolean {
    return this.#health.away;
  }

  /**
   * configure takes the policies of a revision; call it before the first take, and before a plan of that revision is
   * used. Buckets and what is known of them stay.
   *
   * @param policyVersionUs when the policies were loaded, on the database's clock
   */
  configure(policies: readonly PolicySettings[], policyVersionUs: number): void {
    const next = new Map<string, PolicyBuckets>();
    for (const settings of policies) {
      const known = this.#policies.get(settings.name);
      if (known?.change(settings, policyVersionUs) === true)
        this.#spread.add(settings.name, known.changed(this.#clock));
      next.set(settings.name, known ?? this.#makePolicy(settings, policyVersionUs));
    }
    this.#policies = next;
    for (const buckets of next.values()) buckets.resize(this.#keysPerPolicy);
  }

  /** shareAmong says how many workers of all machines share the store: each grants its part of a limit alone. */
  shareAmong(storeWorkers: number): void {
    this.#local.setShares(storeWorkers);
  }

  /** useLeases follows the setting `rateLimit.leases`; lots that are out go back as they age. */
  useLeases(leases: boolean): void {
    this.#leases = leases;
  }

  /**
   * take asks for `cost` tokens of a policy, at once or within the deadline; it never throws or rejects. The limits are
   * those of the last configure() by the policy's name, whatever revision the caller's plan is of.
   */
  take(caller: Caller, policy: PolicySettings, cost: number): Decision | Promise<Decision> {
    const buckets = this.#bucketsOf(policy);
    const state = buckets.stateOf(caller);
    const nowMs = this.#clock.monotonicMs();
    const leased = this.#takeLeased(buckets, state, { cost, nowMs });
    if (leased !== null) return buckets.count(leased);
    const refusal = buckets.refusalOf(state, cost, nowMs);
    if (refusal !== null) return buckets.count(refusal);
    if (!this.#health.reachable()) {
      this.#health.skipped();
      return buckets.count(this.#decideAlone({ state, cost }));
    }
    if (this.#waiting.size >= MAX_WAITERS) {
      return buckets.count(this.#decideAlone({ state, cost }));
    }
    return new Promise((resolve) => {
      const waiter = { state, cost, enqueuedMs: nowMs, resolve, settled: false };
      state.want(cost, nowMs);
      state.enqueue(waiter);
      this.#waiting.add(waiter);
      this.#list(state);
    });
  }

  /** refusalOf is what take would refuse from memory, counted; null: take must be asked. For lists of policies. */
  refusalOf(caller: Caller, policy: PolicySettings, cost: number): Decision | null {
    const buckets = this.#bucketsOf(policy);
    const refusal = buckets.refusalOf(buckets.stateOf(caller), cost, this.#clock.monotonicMs());
    return refusal === null ? null : buckets.count(refusal);
  }

  /** knownOf is what is known of a bucket: an allowed decision that took nothing and is not counted. */
  knownOf(caller: Caller, policy: PolicySettings): Decision {
    return this.#bucketsOf(policy).knownOf(caller, this.#clock.monotonicMs());
  }

  /**
   * giveBack returns what a decision of take was charged, where the request is not served after all: another policy of its
   * route refused. A second call for the same decision does nothing. Lease tokens go back into their lot, those of the
   * local share into the share; a token that came from the store goes to a request that waits for this bucket, or into the
   * store with the next take.
   */
  giveBack(caller: Caller, policy: PolicySettings, decision: Decision, cost: number): void {
    if (!decision.charged || this.#returned.has(decision)) return;
    this.#returned.add(decision);
    const state = this.#bucketsOf(policy).stateOf(caller);
    const { source, origin } = decision;
    const nowMs = this.#clock.monotonicMs();
    if (source === 'local') this.#local.giveBack(state.key, cost, Math.floor(nowMs * 1000));
    else if (origin instanceof Lot && state.lease?.unspend(origin, cost, nowMs) === true) return;
    else if (origin) state.giveBack(serveQueue(state, cost, origin, nowMs), origin.epoch);
    if (state.hasReturns) this.#list(state);
  }

  /**
   * resetBucket forgets what is known of a bucket that has been refilled in the store: deny cache and local share.
   *
   * @param key as in TakeRequest.key
   */
  resetBucket(key: string): void {
    this.#local.forget(key);
    const hash = hashOf(key);
    for (const buckets of this.#policies.values()) {
      const state = buckets.known(hash);
      if (state?.key === key) state.reset(this.#clock.monotonicMs());
    }
  }

  /**
   * close answers all who still wait from the local share and stops the probes; later takes are local too. Leased tokens go
   * back, where the store takes them within its deadline.
   */
  async close(): Promise<void> {
    this.#waiting.close();
    this.#spread.close();
    const nowMs = this.#clock.monotonicMs();
    const flights: Flight[] = [];
    for (const state of this.#aging.close()) {
      state.lease?.returnAll();
      const flight = departureOf(state, [], { leases: false, nowMs });
      if (flight !== null && flights.length < MAX_BATCH) flights.push(flight);
    }
    const reachable = this.#health.reachable();
    this.#health.close();
    if (reachable && flights.length > 0) await this.#health.ask(flights.map(requestOf));
  }

  /** From what is held on lease, unless somebody waits already; null: the store must be asked. */
  #takeLeased(
    buckets: PolicyBuckets,
    state: KeyState,
    { cost, nowMs }: { cost: number; nowMs: number },
  ): Decision | null {
    const { lease } = state;
    if (lease === null || !this.#leases || state.queue.length > 0) return null;
    const lot = lease.spend(cost, nowMs);
    if (lot === null) return null;
    lease.observe(cost, nowMs);
    if (lease.runsLow(nowMs, this.#roundTripMs)) this.#list(state);
    return allow(buckets.verdictOn(state, 'lease'), state.levelAt(nowMs), lot);
  }

  #returnAged(state: KeyState): void {
    if (state.lease?.age(this.#clock.monotonicMs()) === true) this.#list(state);
  }

  #tell(state: KeyState): void {
    state.untold = true;
    this.#list(state);
  }

  get #keysPerPolicy(): number {
    return Math.min(this.#maxKeys, (this.#maxKeys * MAX_KEYS_FACTOR) / this.#policies.size);
  }

  #makePolicy(settings: PolicySettings, versionUs: number): PolicyBuckets {
    return new PolicyBuckets(settings, versionUs, this.#metrics, this.#keysPerPolicy);
  }

  /** A request of an older plan may ask for a policy that is gone: it is made once more, and the next configure() forgets it. */
  #bucketsOf(policy: PolicySettings): PolicyBuckets {
    const known = this.#policies.get(policy.name);
    if (known !== undefined) return known;
    const buckets = this.#makePolicy(policy, OLDEST_VERSION_US);
    this.#policies.set(policy.name, buckets);
    return buckets;
  }

  #list(state: KeyState): void {
    if (state.busy || state.listed) return;
    state.listed = true;
    this.#dirty.push(state);
    if (this.#flushing) return;
    this.#flushing = true;
    // After the poll phase: every request that this turn of the loop read is in.
    this.#defer(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    const states = this.#dirty;
    this.#dirty = [];
    const reachable = this.#health.reachable();
    const nowMs = this.#clock.monotonicMs();
    let flights: Flight[] = [];
    for (const state of states) {
      state.listed = false;
      const waiters = state.takeQueue();
      if (!reachable) {
        this.#fallBack(waiters);
        // Would be too late once the store is back.
        state.takeRefund();
        state.untold = false;
        continue;
      }
      const flight = departureOf(state, waiters, { leases: this.#leases, nowMs });
      if (flight === null) continue;
      state.busy = true;
      flights.push(flight);
      if (flights.length < MAX_BATCH) continue;
      this.#launch(flights);
      flights = [];
    }
    if (flights.length > 0) this.#launch(flights);
  }

  #launch(flights: Flight[]): void {
    if (this.#sharded) for (const ofOwner of byOwner(flights)) this.#send(ofOwner);
    else this.#send(flights);
  }

  #send(flights: Flight[]): void {
    const sentAtMs = this.#clock.monotonicMs();
    this.#health
      .ask(flights.map(requestOf))
      .then((results) => this.#land(flights, results, sentAtMs))
      .catch((thrown: unknown) => this.#logger.error({ err: toError(thrown) }, 'the limiter lost a batch'));
  }

  #land(flights: Flight[], results: (TakeReply | Error)[], sentAtMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    const enqueuedMs = Math.min(...flights.map((flight) => flight.waiters[0]?.enqueuedMs ?? sentAtMs));
    this.#health.judge(results, sentAtMs, nowMs - enqueuedMs);
    this.#roundTripMs += (nowMs - sentAtMs - this.#roundTripMs) * ROUND_TRIP_SMOOTHING;
    for (const [index, flight] of flights.entries()) {
      const { state, waiters } = flight;
      const result = results[index];
      state.busy = false;
      if (result === undefined || result instanceof Error) this.#fallBack(waiters);
      else this.#share(flight, result, sentAtMs);
      // Those who came meanwhile do not wait for a store that has just failed, nor ask for what cannot be.
      if (this.#health.away) this.#fallBack(state.takeQueue());
      else denyQueued(state, nowMs);
      if (state.queue.length > 0 || state.hasReturns) this.#list(state);
    }
  }

  #share(flight: Flight, reply: TakeReply, sentAtMs: number): void {
    const { state, need } = flight;
    const nowMs = this.#clock.monotonicMs();
    state.learn(reply, { sentAtMs, nowMs }, reply.granted < need, this.#random);
    this.#addLot(flight, reply, sentAtMs);
    serveFlight(flight, reply, nowMs);
    serveFromLease(state, nowMs);
  }

  #addLot({ state, ask }: Flight, reply: TakeReply, sentAtMs: number): void {
    const { lease } = state;
    if (lease === null || ask.ahead === 0) return;
    const nowMs = this.#clock.monotonicMs();
    lease.lent(ask.ahead, reply.ahead, nowMs);
    if (reply.ahead === 0 || state.isStale(sentAtMs)) return;
    lease.add(new Lot(reply.ahead, reply.epoch, sentAtMs + LEASE_MS), nowMs);
    this.#aging.add(state, sentAtMs + RETURN_AFTER_MS);
  }

  #fallBack(waiters: readonly Waiter[]): void {
    for (const waiter of waiters) {
      if (!waiter.settled) settle(waiter, this.#decideAlone(waiter));
    }
  }

  /** By the policy's word for a store that is away, which also holds where too many wait for it. */
  #decideAlone({ state, cost }: Pick<Waiter, 'state' | 'cost'>): Decision {
    const { policy } = state;
    const nowMs = this.#clock.monotonicMs();
    const verdict = policy.verdictOn(state, 'local');
    if (policy.onStoreFailure === 'allow') return allowUncharged(verdict, state.levelAt(nowMs));
    if (policy.onStoreFailure === 'deny') return refuseUnchecked(verdict, state.levelAt(nowMs));
    const nowUs = Math.floor(nowMs * 1000);
    const reply = this.#local.take(state.key, state.force, cost, state.known(nowMs), nowUs);
    const level = { micro: reply.levelMicro, rules: reply };
    return reply.granted === cost ? allow(verdict, level) : refuse(verdict, level, cost);
  }
}
