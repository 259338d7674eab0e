/** The backends of one pool in one plan, and the choice among them. */
import type { BalanceAlgorithm, PoolSettings } from '../contract/settings.ts';
import type { Algorithm } from './algorithm.ts';
import type { Backend } from './backend.ts';
import { LeastRequests } from './least-requests.ts';
import { SmoothWeightedRoundRobin } from './smooth-weighted-round-robin.ts';

export interface BackendSetOptions {
  /** Which worker this is: 0…workerCount - 1; the same again for one that replaces it. */
  workerIndex: number;
  /** ≥ 1. */
  workerCount: number;
  /** Uniform in [0, 1). */
  random: () => number;
}

/** BackendSet is built with each plan (weights are read then) and asked once per attempt. */
export class BackendSet {
  readonly name: string;
  readonly backends: readonly Backend[];
  readonly #algorithm: Algorithm;

  /** @param backends made by keepBackends, in the order of the pool's settings */
  constructor(pool: PoolSettings, backends: readonly Backend[], options: BackendSetOptions) {
    this.name = pool.name;
    this.backends = backends;
    this.#algorithm = makeAlgorithm(pool.balance, backends, options);
  }

  /**
   * pick chooses the backend of the next attempt; the proxy calls it.
   *
   * @param tried backends that this request has been at; never picked again
   * @returns null only when no backend is both available and untried
   */
  pick(tried: readonly Backend[]): Backend | null {
    return this.#algorithm.pick(tried);
  }
}

function makeAlgorithm(
  kind: BalanceAlgorithm,
  backends: readonly Backend[],
  options: BackendSetOptions,
): Algorithm {
  switch (kind) {
    case 'round_robin':
      return new SmoothWeightedRoundRobin(backends, options.workerIndex / options.workerCount);
    case 'least_requests':
      return new LeastRequests(backends, options.random);
  }
}
