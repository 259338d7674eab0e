/** How long RecentCount counts together. */
const RECENT_MS = 30_000;

/** RecentCount counts what happens within RECENT_MS of the first; for bounds of connections and pools. */
export class RecentCount {
  #count = 0;
  #sinceMs = 0;

  /** @param nowMs monotonic @returns the count with this one */
  add(nowMs: number): number {
    if (nowMs - this.#sinceMs > RECENT_MS) {
      this.#sinceMs = nowMs;
      this.#count = 0;
    }
    return ++this.#count;
  }
}
