import type { RequestRows } from '../../contract/audited-requests.ts';

/** While the database is away: some seconds of 10,000 requests/s. */
const MAX_ROWS = 100_000;
const MAX_CHARS = 16 * 2 ** 20;
/** Of one COPY, at most. */
const COPY_CHARS = 2 ** 20;

/** RequestQueue holds rows of requests until the database has them, as batches of the workers; the oldest are dropped beyond its bounds. */
export class RequestQueue {
  readonly #batches: RequestRows[] = [];
  #rows = 0;
  #chars = 0;
  #next: RequestRows | null = null;

  get rowCount(): number {
    return this.#rows + (this.#next?.count ?? 0);
  }

  /** @returns how many rows were dropped */
  add(batch: RequestRows): number {
    this.#batches.push(batch);
    this.#rows += batch.count;
    this.#chars += batch.text.length;
    let dropped = 0;
    while (this.#rows > MAX_ROWS || this.#chars > MAX_CHARS) dropped += this.#shift()?.count ?? 0;
    return dropped;
  }

  /** next is what to write now: the same until `settle`, so that a try whose answer was lost can be told from one that was not made. */
  next(): RequestRows | null {
    if (this.#next !== null || this.#batches.length === 0) return this.#next;
    const next = { count: 0, text: '' };
    do {
      const { count = 0, text = '' } = this.#shift() ?? {};
      next.count += count;
      next.text += text;
    } while (next.text.length + (this.#batches[0]?.text.length ?? COPY_CHARS) < COPY_CHARS);
    this.#next = next;
    return next;
  }

  /** settle is called once `next` is written, or lost. */
  settle(): void {
    this.#next = null;
  }

  #shift(): RequestRows | undefined {
    const batch = this.#batches.shift();
    this.#rows -= batch?.count ?? 0;
    this.#chars -= batch?.text.length ?? 0;
    return batch;
  }
}
