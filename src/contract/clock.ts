/**
 * Time as a parameter. Policies, limiters and timers take a Clock, so that tests can run them on a fake one.
 */
// The global of this name is a getter, which optimized code still calls: 0.5 % of a worker's time.
import { performance } from 'node:perf_hooks';

export interface Clock {
  /** Milliseconds that never go backwards, with fractions; only differences mean anything. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch on this machine; may step either way. */
  wallMs(): number;
}

/** systemClock is the real one; entry files hand it to everything they build. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};
