/**
 * How long to wait before a worker that has ended is replaced. While one is missing all others carry its load, so that one that had
 * come up is replaced at once. One that never came up waits: another start would fail too, and takes half a second of CPU.
 */

/** Deaths in a row after which the worker is replaced at once. */
const FREE_DEATH_COUNT = 2;
/** For starts that failed; doubled from the first to the last. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 5_000;
/** A request may kill every worker that gets it. Whoever sends it again and again causes at most one start of a slot in this time. */
const SHORT_LIFE_MS = 1_000;

/** Each worker slot has one BackOff for all its processes. */
export class BackOff {
  /** How many there were in a row, up to now. */
  #failedStarts = 0;
  #shortLives = 0;

  /**
   * delayMsAfter notes a death and returns how long to wait. A process that came up ends the row of failed starts.
   * @param cameUp whether the process served
   * @param uptimeMs since its fork
   */
  delayMsAfter(cameUp: boolean, uptimeMs: number): number {
    if (!cameUp) {
      this.#failedStarts++;
      const beyondFree = this.#failedStarts - FREE_DEATH_COUNT;
      return beyondFree <= 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (beyondFree - 1), MAX_DELAY_MS);
    }
    this.#failedStarts = 0;
    this.#shortLives = uptimeMs < SHORT_LIFE_MS ? this.#shortLives + 1 : 0;
    return this.#shortLives <= FREE_DEATH_COUNT ? 0 : SHORT_LIFE_MS - uptimeMs;
  }
}
