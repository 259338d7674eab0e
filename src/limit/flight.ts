/** A take on its way to the store, with those who wait for it. */
import type { TakeRequest } from '../contract/buckets.ts';
import { GRANTED_AS_NEED } from './bucket-store.ts';
import type { KeyState, Waiter } from './key-state.ts';
import type { LeaseAsk } from './lease.ts';

export interface Flight {
  readonly state: KeyState;
  /** Empty where a lease alone asks. */
  readonly waiters: readonly Waiter[];
  readonly need: number;
  readonly partial: boolean;
  readonly ask: LeaseAsk;
}

/** departureOf makes the take of those who wait for a bucket and of its lease; null: there is nothing to ask. */
export function departureOf(state: KeyState, waiters: readonly Waiter[], leaseAsk: LeaseAsk): Flight | null {
  const ask = withUnused(state, leaseAsk);
  if (waiters.length === 0 && ask.ahead === 0 && ask.ret === 0) return null;
  // What can never be met must not draw tokens that then fit nobody; where there is nothing else it asks all the same,
  // so that a raised limit is noticed.
  const possible = waiters.filter((waiter) => waiter.cost <= state.force.capacity);
  const asking = possible.length > 0 ? possible : waiters.slice(0, 1);
  const need = asking.reduce((sum, waiter) => sum + waiter.cost, 0);
  // One alone gets all or nothing: what does not fit anybody would be lost.
  return { state, waiters, need, partial: asking.length > 1, ask };
}

/** A take has room for one return; that of a lease is the urgent one. */
function withUnused(state: KeyState, ask: LeaseAsk): LeaseAsk {
  if (state.unused === 0 || ask.ret > 0) return ask;
  const ret = state.unused;
  state.unused = 0;
  return { ...ask, ret, retEpoch: GRANTED_AS_NEED };
}

export function requestOf({ state, need, partial, ask }: Flight): TakeRequest {
  const { capacity, rateMicro, versionUs } = state.rules;
  return { key: state.key, capacity, rateMicro, versionUs, need, partial, ...ask };
}
