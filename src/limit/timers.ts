/** The timers of the limiter: those of the event loop, or the simulation's. */
export interface Timers {
  /** Runs fn once after delayMs and returns how to cancel that. */
  after(delayMs: number, fn: () => void): () => void;
}

export const systemTimers: Timers = {
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs);
    return () => clearTimeout(timer);
  },
};
