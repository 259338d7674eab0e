/** The limiter's timers: the event loop's, or a simulation's. They keep the process alive, so a limiter must be closed. */
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
