/**
 * Time as a parameter. Policies, limiters and timers take a Clock, so that tests can run them on a fake one.
 */
export interface Clock {
  /** Milliseconds that never go backwards, with fractions; only differences mean anything. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch on this machine; may step either way. */
  wallMs(): number;
}

/** Read once: the global is a getter, which optimized code would call with every look at the clock, 0.5 % of a worker's time. */
const { performance } = globalThis;

/** systemClock is the real one; entry files hand it to everything they build. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};
