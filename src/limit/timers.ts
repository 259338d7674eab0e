/** The timers of the limiter; the simulation passes its own. */
export interface Timers {
  /** Runs fn once after delayMs and returns how to cancel that. */
  after(delayMs: number, fn: () => void): () => void;
}

/** backgroundTimers never keep the process alive: probes, leases. */
export const backgroundTimers: Timers = {
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

/** holdingTimers keep the process alive: somebody waits for an answer. */
export const holdingTimers: Timers = {
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs);
    return () => clearTimeout(timer);
  },
};
