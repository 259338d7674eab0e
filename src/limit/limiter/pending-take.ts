/** A take on its way to the store, with those who wait for it. */
import type { TakeRequest } from '../../contract/buckets.ts';
import { hashOf } from '../bucket/bucket-key.ts';
import type { KeyState, Refund, Waiter } from './known-bucket.ts';
import type { LeaseAsk } from './lease.ts';

export interface Flight {
  readonly state: KeyState;
  /** Empty where nobody waits: a lease asks, or something goes back. */
  readonly waiters: readonly Waiter[];
  readonly need: number;
  readonly partial: boolean;
  readonly ask: LeaseAsk;
  readonly refund: Refund;
}

/**
 * departureOf makes the take of those who wait for a bucket, of its lease, and of what goes back; null: there is nothing
 * to ask.
 *
 * @param leases whether tokens may be taken ahead
 */
export function departureOf(
  state: KeyState,
  waiters: readonly Waiter[],
  options: { leases: boolean; nowMs: number },
): Flight | null {
  const { untold } = state;
  state.untold = false;
  const refund = state.takeRefund();
  const ask = state.leaseAsk(options, waiters.length > 0);
  const asksNothing = waiters.length === 0 && ask.ahead === 0 && ask.ret === 0 && refund.refund === 0;
  if (asksNothing && !untold) return null;
  const asking = askingOf(state, waiters);
  const need = asking.reduce((sum, waiter) => sum + waiter.cost, 0);
  // One alone gets all or nothing: what does not fit anybody would have to go back.
  return { state, waiters, need, partial: asking.length > 1, ask, refund };
}

/**
 * What can never be met must not draw tokens that then fit nobody; where there is nothing else it asks all the same, so
 * that a raised limit is noticed.
 */
function askingOf({ force }: KeyState, waiters: readonly Waiter[]): readonly Waiter[] {
  if (waiters.every((waiter) => waiter.cost <= force.capacity)) return waiters;
  const possible = waiters.filter((waiter) => waiter.cost <= force.capacity);
  return possible.length > 0 ? possible : waiters.slice(0, 1);
}

export function requestOf({ state, need, partial, ask, refund }: Flight): TakeRequest {
  const { capacity, rateMicro, versionUs } = state.rules;
  return { key: state.key, capacity, rateMicro, versionUs, need, partial, ...ask, ...refund };
}

/** byOwner splits a batch for a sharded store: a call of its own for each caller's buckets. */
export function byOwner(flights: readonly Flight[]): Flight[][] {
  const groups = new Map<string, Flight[]>();
  for (const flight of flights) {
    const owner = hashOf(flight.state.key);
    const group = groups.get(owner);
    if (group === undefined) groups.set(owner, [flight]);
    else group.push(flight);
  }
  return [...groups.values()];
}
