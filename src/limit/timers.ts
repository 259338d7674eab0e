/** The timers of the limiter: those of the event loop, or the simulation's. */
export interface Timers {
  /** Runs fn once after delayMs and returns how to cancel that. */
  after(delayMs: number, fn: () => void): () => void;
}

/** holdingTimers keep the process alive: somebody waits for an answer. */
export const holdingTimers: Timers = {
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs);
    return () => clearTimeout(timer);
  },
};

/** backgroundTimers do not keep the process alive: probes, leases. */
export const backgroundTimers: Timers = {
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs).unref();
    return () => clearTimeout(timer);
  },
};
