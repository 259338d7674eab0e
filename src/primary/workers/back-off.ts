/** How long to wait before a dead worker is replaced, so that one that dies at each start does not take the machine's CPU. */

/** Older deaths no longer count. */
const WINDOW_MS = 30_000;
/** Deaths within the window after which the worker is replaced at once. */
const FREE_DEATH_COUNT = 2;
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 5_000;

/** Each worker slot has one BackOff for all its processes. */
export class BackOff {
  /** Ascending monotonic ms. The delays themselves bound how many fit into the window. */
  #deathsAtMs: number[] = [];

  /**
   * delayMsAfter notes a death and returns how long to wait: 0 for the first two within 30 s, then 500 ms, doubling up to 5 s.
   * @param diedAtMs monotonic ms, not before those of earlier calls
   */
  delayMsAfter(diedAtMs: number): number {
    const recent = this.#deathsAtMs.filter((atMs) => diedAtMs - atMs < WINDOW_MS);
    this.#deathsAtMs = [...recent, diedAtMs];
    const beyondFree = this.#deathsAtMs.length - FREE_DEATH_COUNT;
    return beyondFree <= 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (beyondFree - 1), MAX_DELAY_MS);
  }
}
