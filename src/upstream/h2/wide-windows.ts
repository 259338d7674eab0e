/** What more than its first window a backend may send to a wide stream. A backend far away sends a large answer faster then. */
export const WIDER_BYTES = 196_608;
const STREAMS_MAX = 256;

/**
 * WideWindows bounds the streams of a worker that are wide, and so what clients that stop reading make it hold: 48 MiB, beside the
 * first window of each stream. 1,200 such clients cost 128 MiB; with all streams wide it was 231.
 */
class WideWindows {
  #count = 0;

  /** take is called before a stream is widened, once. @returns whether it may be */
  take(): boolean {
    if (this.#count === STREAMS_MAX) return false;
    this.#count++;
    return true;
  }

  /** give is called at the end of a request whose stream is wide. */
  give(): void {
    this.#count--;
  }
}

/** wideWindows are those of this process. */
export const wideWindows = new WideWindows();
