/**
 * One server of a pool. A reload that changes neither its id nor its address keeps the object and its count of requests.
 *
 * A backend that is out while its pool panics is on trial in each worker, whatever its health check says: `trial` is
 * - none: it is not on trial.
 * - free: it may be given one request. Entered when the trial begins, and some time after a failure.
 * - taken: that request is under way, or has failed a moment ago; it gets others only where nothing else is left.
 * - passed: it has answered a request, and has its part of them. A failure leads back to taken.
 * The primary's word begins and ends a trial; src/proxy/live-results.ts moves it otherwise.
 */
import type { Panic, Standing } from '../contract/health.ts';
import { type BackendSettings, isSameServer, type PoolSettings } from '../contract/pool-settings.ts';

/**
 * `pick` looks at rank 1, then 2, then 3, and goes on only where a rank has no untried backend. 1: backends that take requests;
 * 2: backups; 3: those that probably fail; 0: gets none. A full backend has 0 too, but requests wait for it rather than go to a higher rank.
 */
export type Rank = 0 | 1 | 2 | 3;
const LAST_RANK: Rank = 3;

type Trial = 'none' | 'free' | 'taken' | 'passed';

export class Backend {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** `https://`. */
  readonly tls: boolean;
  /** Its part of the requests now, relative to others of its rank. */
  weight = 0;
  /** Its part when it has risen (slow start). */
  fullWeight = 0;
  rank: Rank = 0;
  /** Its rank if it were not full; 0 while it is not full. */
  fullRank: Rank = 0;
  /** Requests at this backend now, tunnels included. */
  inFlight = 0;
  /** When it last answered this worker without an error, and its errors in a row since; monotonic, kept by LiveResults. */
  lastOkMs = Number.NEGATIVE_INFINITY;
  readonly errorsMs: number[] = [];
  /** Called when waiting requests should look again: this backend has room, or need no longer be waited for; set by the proxy. */
  onRoom: (() => void) | null = null;

  #busy = 0;
  /** Of these, those that do not wait for it: see Attempt. */
  #unawaited = 0;
  #limit = Number.POSITIVE_INFINITY;
  #awaitedLimit = Number.POSITIVE_INFINITY;
  #backup = false;
  #standing: Standing;
  #panic: Panic = 'no';
  #trial: Trial = 'none';
  #doubted = false;

  constructor(settings: BackendSettings, standing: Standing) {
    this.id = settings.id;
    this.host = settings.host;
    this.port = settings.port;
    this.tls = settings.tls;
    this.#standing = standing;
    this.configure(settings);
  }

  /** configure takes over what a reload may change; for keepBackends. */
  configure({ weight, backup }: BackendSettings): void {
    this.fullWeight = weight;
    this.weight = weight;
    this.#backup = backup;
    this.#judge();
  }

  /** What the primary says of it. Its word ends a doubt, and errors from before it do not count any more. */
  get standing(): Standing {
    return this.#standing;
  }

  set standing(standing: Standing) {
    this.#standing = standing;
    this.#doubted = false;
    this.errorsMs.length = 0;
    this.#judge();
  }

  /** How far it has risen, 0.1 to 1; for SlowStart. */
  set share(share: number) {
    this.weight = this.fullWeight * share;
  }

  /** What the primary says of its pool. */
  set panic(panic: Panic) {
    this.#panic = panic;
    this.#judge();
  }

  get trial(): Trial {
    return this.#trial;
  }

  set trial(trial: Trial) {
    this.#trial = trial;
    this.#rerank();
  }

  /** Whether this worker would not use it where there is another one; see LiveResults. */
  get doubted(): boolean {
    return this.#doubted;
  }

  set doubted(doubted: boolean) {
    this.#doubted = doubted;
    this.#rerank();
  }

  /** Its rank while nothing is wrong with it. */
  get plannedRank(): Rank {
    if (this.fullWeight === 0) return 0;
    return this.#backup ? 2 : 1;
  }

  /** Begins or ends a trial, and finds the rank. */
  #judge(): void {
    const isOnTrial = this.#standing === 'out' && this.#panic === 'shared' && this.plannedRank === 1;
    if (isOnTrial !== (this.#trial !== 'none')) this.#trial = isOnTrial ? 'free' : 'none';
    this.#rerank();
  }

  /** Requests that it may have at once. */
  set limit(limit: number) {
    this.#limit = limit;
    this.#rerank();
  }

  /** Of them, those that wait for it; for AdaptiveLimit. */
  set awaitedLimit(limit: number) {
    this.#awaitedLimit = limit;
    this.#rerank();
  }

  /** Requests that count against the limit: without tunnels, and without answers that their clients do not take. */
  get busy(): number {
    return this.#busy;
  }

  /** Of them, those that wait for it. */
  get awaited(): number {
    return this.#busy - this.#unawaited;
  }

  /** Whether it has half of the requests that it may have at once. */
  get isHalfFull(): boolean {
    return this.#busy * 2 >= this.#limit || this.awaited * 2 >= this.#awaitedLimit;
  }

  get #isFull(): boolean {
    return this.#busy >= this.#limit || this.awaited >= this.#awaitedLimit;
  }

  /** enter is called with each attempt. */
  enter(): void {
    this.inFlight += 1;
    this.#busy += 1;
    if (this.#isFull) this.#rerank();
  }

  /** setAwaited is called when one that counts against the limit waits for this backend no more, or does so again. */
  setAwaited(isAwaited: boolean): void {
    const wasFull = this.#isFull;
    this.#unawaited += isAwaited ? -1 : 1;
    if (wasFull !== this.#isFull) this.#rerank();
  }

  /** leave is called at its end. @param isAwaited what setAwaited was told last */
  leave(isAwaited = true): void {
    this.inFlight -= 1;
    this.free(isAwaited);
  }

  /** free alone is for what stays in flight and no longer counts against the limit: a tunnel, and an answer that its client does not take. */
  free(isAwaited = true): void {
    const wasFull = this.#isFull;
    this.#busy -= 1;
    if (!isAwaited) this.#unawaited -= 1;
    if (wasFull) this.#rerank();
  }

  #rerank(): void {
    const rank = this.#rankNow();
    const { rank: before, fullRank: fullBefore } = this;
    const isFull = this.#isFull;
    this.fullRank = isFull ? rank : 0;
    this.rank = isFull ? 0 : rank;
    const isBetter = this.rank !== 0 && (before === 0 || this.rank < before);
    // It is no longer waited for: those of a higher rank get its requests.
    const makesWay = fullBefore !== 0 && fullBefore !== this.fullRank;
    if (isBetter || makesWay) this.onRoom?.();
  }

  #rankNow(): Rank {
    const planned = this.plannedRank;
    if (planned === 0) return 0;
    if (this.#standing === 'up') return this.#doubted ? 3 : planned;
    if (this.#standing === 'off' || this.#panic === 'no') return 0;
    return this.#trial === 'free' || this.#trial === 'passed' ? 1 : 3;
  }
}

/** areBusy: whether there are backends that take requests, and each of them has half of what it may have at once, or all of it. */
export function areBusy(backends: Iterable<Backend>): boolean {
  let found = false;
  for (const { rank, fullRank, isHalfFull } of backends) {
    if (rank === 0 && fullRank === 0) continue;
    if (!isHalfFull) return false;
    found = true;
  }
  return found;
}

/** hasFull: whether a backend would be picked if it were not full. @param rank null: of any */
export function hasFull(
  backends: Iterable<Backend>,
  tried: readonly Backend[],
  rank: number | null,
): boolean {
  for (const backend of backends) {
    const { fullRank } = backend;
    if (fullRank !== 0 && (rank === null || rank === fullRank) && !tried.includes(backend)) return true;
  }
  return false;
}

/**
 * nextRank is that of the backends among which a request finds its own; negative: those of this rank are full, and it waits for one of
 * them; 0: no backend takes it. For every Algorithm and for explanations. It allocates nothing.
 */
export function nextRank(backends: readonly Backend[], tried: readonly Backend[]): number {
  for (let rank = 1; rank <= LAST_RANK; rank++) {
    for (const backend of backends) if (backend.rank === rank && !tried.includes(backend)) return rank;
    if (hasFull(backends, tried, rank)) return -rank;
  }
  return 0;
}

/**
 * keepBackends returns the backends of a pool for a new plan, in the order of the settings. Those of the previous plan with the
 * same id and address are kept. A new one of a pool with a health check is off until the primary says otherwise (B6).
 */
export function keepBackends(pool: PoolSettings, previous: readonly Backend[]): Backend[] {
  const byId = new Map(previous.map((backend) => [backend.id, backend]));
  const checked = pool.healthCheck !== null;
  return pool.backends.map((settings) => {
    const known = byId.get(settings.id);
    if (known === undefined || !isSameServer(known, settings)) {
      return new Backend(settings, checked ? 'off' : 'up');
    }
    known.configure(settings);
    if (!checked && known.standing === 'off') known.standing = 'up';
    return known;
  });
}
