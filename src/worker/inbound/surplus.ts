/** The connections of a crowded worker that must end with their next answer, so that the others get their share. */

/** A worker with more connections than the mean times this ratio is crowded (docs/glossary.md): it ends the surplus. */
const CROWDED_RATIO = 1.15;
/** Below this mean no connection is ended: some clients overlook `Connection: close`. */
const CROWDED_MEAN_MIN = 100;

/** Surplus is owned by InboundServer. */
export class Surplus {
  #count = 0;

  /** set is called about once a second. @param meanConnections over all workers */
  set(connectionCount: number, meanConnections: number): void {
    const surplus = connectionCount - meanConnections;
    const crowded = meanConnections >= CROWDED_MEAN_MIN && surplus > meanConnections * (CROWDED_RATIO - 1);
    this.#count = crowded ? Math.floor(surplus) : 0;
  }

  /** take tells whether a connection must end. */
  take(): boolean {
    if (this.#count === 0) return false;
    this.#count -= 1;
    return true;
  }
}
