/** The choice among the backends of a pool. */
import type { PlaceAmongWorkers } from '../contract/messages.ts';
import type { PoolSettings } from '../contract/pool-settings.ts';
import type { Backend } from './backend.ts';
import { LeastRequests } from './least-requests.ts';
import { SmoothWeightedRoundRobin } from './smooth-weighted-round-robin.ts';

/** Algorithm picks the backend of each attempt; one per pool and plan. */
export interface Algorithm {
  /**
   * pick returns the next backend, of the lowest rank that an untried one has, or null when none is left, or those of that rank are full. It is synchronous and allocates nothing.
   * @param tried backends that this request has already been sent to
   */
  pick(tried: readonly Backend[]): Backend | null;
}

/** makeAlgorithm is called with each plan. @param backends in the order of the pool's settings */
export function makeAlgorithm(
  kind: PoolSettings['balance'],
  backends: readonly Backend[],
  { workerIndex, workerCount }: PlaceAmongWorkers,
): Algorithm {
  switch (kind) {
    case 'round_robin':
      return new SmoothWeightedRoundRobin(backends, workerIndex / workerCount);
    case 'least_requests':
      return new LeastRequests(backends);
  }
}
