/**
 * The limiter of a worker: may this caller have a token of this policy?
 *
 * 1. The deny cache answers at once while no token can exist.
 * 2. Otherwise the take joins the bucket's queue. One take per bucket is in flight; all who wait share the next one, and
 *    all buckets of one turn of the event loop share one pipeline (coalescing: exact, and a fraction of the calls).
 * 3. Where the store is away, or does not answer in time, the local share answers, at once while the breaker is open.
 *
 * A token taken from the store is used at most once or lost, never given back: so the bound of the bucket holds whatever
 * happens. The client never sees an error.
 */
import type { TakeReply, TakeRequest } from '../contract/buckets.ts';
import type { Clock } from '../contract/clock.ts';
import { LbError, toError } from '../contract/errors.ts';
import type { PolicySettings } from '../contract/settings.ts';
import type { Logger } from '../infra/logger.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import { Breaker, type BreakerTimers, realTimers } from './breaker.ts';
import { type BucketStore, MICRO } from './bucket-store.ts';
import type { Caller } from './client-identity.ts';
import { DeadlineQueue } from './deadline-queue.ts';
import { allow, type Decision, type Level, refuse } from './decision.ts';
import type { KeyState, Waiter } from './key-state.ts';
import { LocalBuckets } from './local-buckets.ts';
import { PolicyBuckets } from './policy-buckets.ts';
import { makeProbe } from './probe.ts';
import { StoreMeter } from './store-meter.ts';

/**
 * Requests of a worker that may wait for the store; the others get the local share, which adds to what the store grants
 * (behaviour 30). So it is no bound that traffic should meet, only one for memory: about 25 MB. All may wait for one bucket.
 */
const MAX_WAITERS = 65_536;
/** A connection that nobody uses can break unseen: a store not heard for so long is asked. */
const WATCH_EVERY_MS = 1_000;
/** Takes in one pipeline at most. */
const MAX_BATCH = 256;
const DEFAULT_MAX_KEYS = 100_000;
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
  random?: () => number;
  timers?: BreakerTimers;
  /** Runs fn once the event loop has polled its sockets; default setImmediate. */
  defer?: (fn: () => void) => void;
  /** Buckets remembered per policy, and local shares; default 100,000. */
  maxKeys?: number;
}

/** A take on its way, with those who wait for it. */
interface Flight {
  state: KeyState;
  waiters: Waiter[];
  need: number;
}

export class Limiter {
  readonly #store: BucketStore;
  readonly #workers: number;
  readonly #clock: Clock;
  readonly #metrics: WorkerMetrics;
  readonly #logger: LimiterOptions['logger'];
  readonly #random: () => number;
  readonly #defer: (fn: () => void) => void;
  readonly #maxKeys: number;
  readonly #breaker: Breaker;
  readonly #meter: StoreMeter;
  readonly #local: LocalBuckets;
  readonly #waiting: DeadlineQueue<Waiter>;
  #policies = new Map<string, PolicyBuckets>();
  #dirty: KeyState[] = [];
  #flushing = false;
  #lastHeardMs = Number.NEGATIVE_INFINITY;
  /** For the log line of an opening breaker. */
  #lastError: Error | null = null;
  #closed = false;
  #stopWatch: () => void = () => undefined;

  constructor(options: LimiterOptions) {
    const { store, workers, instances, clock, metrics, logger, timeoutMs, timers = realTimers } = options;
    this.#store = store;
    this.#workers = workers;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#logger = logger;
    this.#random = options.random ?? Math.random;
    this.#defer = options.defer ?? setImmediate;
    this.#maxKeys = options.maxKeys ?? DEFAULT_MAX_KEYS;
    this.#meter = new StoreMeter(metrics);
    this.#local = new LocalBuckets({ shares: workers * instances, maxBuckets: this.#maxKeys });
    this.#breaker = new Breaker({
      probe: () => this.#probe('breaker'),
      onChange: (open, reason) => this.#breakerChanged(open, reason),
      random: this.#random,
      timers,
    });
    if (store.kind === 'redis') this.#watch(timers);
    this.#waiting = new DeadlineQueue({
      patienceMs: timeoutMs,
      clock,
      defer: this.#defer,
      timers: options.timers,
      onDue: (waiter) => this.#settle(waiter, this.#decideLocally(waiter)),
    });
  }

  /** Whether requests go without the store now; for the worker's report. */
  get breakerOpen(): boolean {
    return this.#breaker.open || !this.#store.available;
  }

  /**
   * configure takes the policies of a revision; call it before the first take, and before a plan of that revision is
   * used. Buckets and what is known of them stay.
   *
   * @param policyVersionUs when the policies were loaded, on the database's clock
   * @param instances machines that share the store, where that changed
   */
  configure(policies: readonly PolicySettings[], policyVersionUs: number, instances?: number): void {
    const next = new Map<string, PolicyBuckets>();
    for (const settings of policies) {
      const known = this.#policies.get(settings.name);
      known?.change(settings, policyVersionUs);
      next.set(settings.name, known ?? this.#makePolicy(settings, policyVersionUs));
    }
    this.#policies = next;
    if (instances !== undefined) this.#local.setShares(this.#workers * instances);
  }

  /**
   * take asks for `cost` tokens of a policy, at once or within the deadline; it never throws or rejects. The limits are
   * those of the last configure() by the policy's name, whatever revision the caller's plan is of.
   */
  take(caller: Caller, policy: PolicySettings, cost: number): Decision | Promise<Decision> {
    const buckets = this.#bucketsOf(policy);
    const state = buckets.stateOf(caller);
    const nowMs = this.#clock.monotonicMs();
    const refusal = buckets.refusalOf(state, cost, nowMs);
    if (refusal !== null) return buckets.count(refusal);
    if (!this.#reachable()) {
      this.#meter.skipped();
      return buckets.count(this.#decideLocally({ state, policy: buckets, cost }));
    }
    if (this.#waiting.size >= MAX_WAITERS) {
      return buckets.count(this.#decideLocally({ state, policy: buckets, cost }));
    }
    return new Promise((resolve) => {
      const waiter = { state, policy: buckets, cost, enqueuedMs: nowMs, resolve, settled: false };
      state.queue.push(waiter);
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

  /** close answers all who still wait from the local share and stops the probes; later takes are local too. */
  close(): Promise<void> {
    this.#closed = true;
    this.#stopWatch();
    this.#breaker.close();
    this.#waiting.close();
    return Promise.resolve();
  }

  #reachable(): boolean {
    if (this.#closed) return false;
    if (!this.#breaker.open && !this.#store.available) this.#breaker.away();
    return !this.#breaker.open;
  }

  /** Without traffic nobody would notice that Redis is away, and readiness could not say so (contract §4). */
  #watch(timers: BreakerTimers): void {
    this.#stopWatch = timers.after(WATCH_EVERY_MS, () => {
      this.#watch(timers);
      const silentMs = this.#clock.monotonicMs() - this.#lastHeardMs;
      if (this.#reachable() && silentMs >= WATCH_EVERY_MS) this.#probe('watch');
    });
  }

  #makePolicy(settings: PolicySettings, versionUs: number): PolicyBuckets {
    return new PolicyBuckets(settings, versionUs, this.#metrics, this.#maxKeys);
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
    const reachable = this.#reachable();
    let flights: Flight[] = [];
    for (const state of states) {
      state.listed = false;
      const waiters = state.queue.filter((waiter) => !waiter.settled);
      state.queue = [];
      if (waiters.length === 0) continue;
      if (!reachable) {
        this.#fallBack(waiters);
        continue;
      }
      state.busy = true;
      flights.push({ state, waiters, need: waiters.reduce((sum, waiter) => sum + waiter.cost, 0) });
      if (flights.length < MAX_BATCH) continue;
      this.#launch(flights);
      flights = [];
    }
    if (flights.length > 0) this.#launch(flights);
  }

  #launch(flights: Flight[]): void {
    const sentAtMs = this.#clock.monotonicMs();
    this.#ask(flights.map(requestOf))
      .then((results) => this.#land(flights, results, sentAtMs))
      .catch((thrown: unknown) => this.#logger.error({ err: toError(thrown) }, 'the limiter lost a batch'));
  }

  /** A store never rejects; where one does all the same, nobody may wait for ever. */
  async #ask(takes: TakeRequest[]): Promise<(TakeReply | Error)[]> {
    try {
      return await this.#store.takeBatch(takes);
    } catch (thrown) {
      const error = toError(thrown);
      return takes.map(() => error);
    }
  }

  #land(flights: Flight[], results: (TakeReply | Error)[], sentAtMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    const enqueuedMs = Math.min(...flights.map((flight) => flight.waiters[0]?.enqueuedMs ?? sentAtMs));
    this.#judge(results, sentAtMs, nowMs - enqueuedMs);
    for (const [index, flight] of flights.entries()) {
      const { state, waiters } = flight;
      const result = results[index];
      state.busy = false;
      if (result === undefined || result instanceof Error) this.#fallBack(waiters);
      else this.#share(flight, result, sentAtMs);
      // Those who came meanwhile do not wait for a store that has just failed, nor ask for what cannot be.
      if (this.#breaker.open) this.#fallBack(state.queue.splice(0));
      else this.#denyQueued(state);
      if (state.queue.length > 0) this.#list(state);
    }
  }

  /** Tells the breaker and the counters how a batch went; one answered take shows that the store is there. */
  #judge(results: (TakeReply | Error)[], sentAtMs: number, waitedMs: number): void {
    const errors = results.filter((result) => result instanceof Error);
    if (errors.length < results.length) {
      this.#lastHeardMs = this.#clock.monotonicMs();
      this.#meter.answered(waitedMs / 1000);
      this.#breaker.succeed();
      return;
    }
    const error = errors[0];
    this.#lastError = error ?? null;
    const timedOut = error instanceof LbError && error.code === 'store_timeout';
    if (timedOut) this.#meter.timedOut();
    else this.#meter.failed();
    if (this.#closed) return;
    if (timedOut && this.#lastHeardMs < sentAtMs) this.#breaker.silence();
    else this.#breaker.fail();
  }

  /** Hands the tokens of a reply to those who wait, in order, first fit; the rest are refused. */
  #share(flight: Flight, reply: TakeReply, sentAtMs: number): void {
    const { state, waiters, need } = flight;
    let left = reply.granted;
    state.learn(reply, sentAtMs, left < need, this.#random);
    const levelNow = (): Level => ({ micro: reply.levelMicro + left * MICRO, rules: state.force });
    const grant = (waiter: Waiter): boolean => {
      if (waiter.settled || waiter.cost > left) return waiter.settled;
      left -= waiter.cost;
      this.#settle(waiter, allow(waiter.policy.verdictOn(state, 'store'), levelNow()));
      return true;
    };
    for (const waiter of waiters) {
      if (!grant(waiter))
        this.#settle(waiter, refuse(waiter.policy.verdictOn(state, 'store'), levelNow(), waiter.cost));
    }
    // Tokens of those who gave up waiting go to those who came meanwhile; what is left then is lost.
    for (const waiter of left > 0 ? state.queue : []) grant(waiter);
  }

  #denyQueued(state: KeyState): void {
    const nowMs = this.#clock.monotonicMs();
    state.queue = state.queue.filter((waiter) => {
      if (waiter.settled) return false;
      const refusal = waiter.policy.refusalOf(state, waiter.cost, nowMs);
      if (refusal === null) return true;
      this.#settle(waiter, refusal);
      return false;
    });
  }

  #fallBack(waiters: Waiter[]): void {
    for (const waiter of waiters) {
      if (!waiter.settled) this.#settle(waiter, this.#decideLocally(waiter));
    }
  }

  #decideLocally({ state, policy, cost }: Pick<Waiter, 'state' | 'policy' | 'cost'>): Decision {
    const nowMs = this.#clock.monotonicMs();
    const reply = this.#local.take(
      state.key,
      state.force,
      cost,
      state.known(nowMs),
      Math.floor(nowMs * 1000),
    );
    const level = { micro: reply.levelMicro, rules: reply };
    const verdict = policy.verdictOn(state, 'local');
    return reply.granted === cost ? allow(verdict, level) : refuse(verdict, level, cost);
  }

  #settle(waiter: Waiter, decision: Decision): void {
    waiter.settled = true;
    waiter.resolve(waiter.policy.count(decision));
  }

  /** A watch that gets no answer holds nobody: it counts as one failure, where a request's silence would open the breaker. */
  #probe(cause: 'breaker' | 'watch'): void {
    if (this.#closed || !this.#store.available) return;
    const startMs = this.#clock.monotonicMs();
    const sentAtMs = cause === 'watch' ? Number.NEGATIVE_INFINITY : startMs;
    this.#ask([makeProbe()])
      .then((results) => this.#judge(results, sentAtMs, this.#clock.monotonicMs() - startMs))
      .catch((thrown: unknown) => this.#logger.error({ err: toError(thrown) }, 'the limiter lost a probe'));
  }

  #breakerChanged(open: boolean, reason: string): void {
    this.#meter.breaker(open);
    const fields = { store: this.#store.kind, reason };
    if (open)
      this.#logger.warn(
        { ...fields, err: this.#lastError },
        'the bucket store is away, limits are kept locally',
      );
    else this.#logger.info(fields, 'the bucket store is back');
  }
}

function requestOf({ state, waiters, need }: Flight): TakeRequest {
  const { capacity, rateMicro, versionUs } = state.rules;
  // One alone gets all or nothing: what does not fit anybody would be lost.
  const partial = waiters.length > 1;
  return { key: state.key, capacity, rateMicro, versionUs, need, partial, ahead: 0, ret: 0, retEpoch: 0 };
}
