import type { RequestRows } from '../../contract/audited-requests.ts';

/** While the database is away: some seconds of 10,000 requests/s. */
const MAX_ROWS = 100_000;
const MAX_CHARS = 16 * 2 ** 20;
/** Of one COPY, at most. After a failure half of it is tried: a slow database gives up a statement after some seconds, and would for ever. */
const COPY_CHARS = 2 ** 20;
/** By which the size of a COPY grows again, after each one. A batch of a worker is as long, and is not split. */
const GROWTH_CHARS = 2 ** 16;

/** What one COPY writes: batches of workers, and their days. */
export interface RequestBatch extends RequestRows {
  days: Set<string>;
}

/** RequestQueue holds rows of requests until the database has them, as batches of the workers; the oldest are dropped beyond its bounds. */
export class RequestQueue {
  readonly #batches: RequestRows[] = [];
  #rows = 0;
  #chars = 0;
  /** Those that are being written; empty: none are. */
  #next: RequestRows[] = [];
  /** The rest of tries that failed, a COPY each. Nothing is joined to it: its rows may be there, and one of them refuses the whole COPY. */
  readonly #tried: RequestRows[][] = [];
  #triedRows = 0;
  #copyChars = COPY_CHARS;

  get rowCount(): number {
    return this.#rows + this.#triedRows;
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

  /** next is what to write now: the same until `settle` or `halve`. */
  next(): RequestBatch | null {
    if (this.#next.length === 0) this.#next = this.#tried.shift() ?? this.#gather();
    return this.#next.length === 0 ? null : joined(this.#next);
  }

  /** settle is called once `next` is written, or lost. */
  settle(): void {
    this.#triedRows -= countOf(this.#next);
    this.#next = [];
    this.#copyChars = Math.min(COPY_CHARS, this.#copyChars + GROWTH_CHARS);
  }

  /** halve is called after a try that failed: `next` is its first half then, and the other half comes behind it. */
  halve(): void {
    this.#copyChars = Math.max(GROWTH_CHARS, this.#copyChars / 2);
    const rest = this.#next.splice(Math.ceil(this.#next.length / 2));
    if (rest.length > 0) this.#tried.unshift(rest);
  }

  #gather(): RequestRows[] {
    const batches: RequestRows[] = [];
    for (let chars = 0; ; ) {
      const [first] = this.#batches;
      if (first === undefined || (chars > 0 && chars + first.text.length >= this.#copyChars)) return batches;
      chars += first.text.length;
      this.#triedRows += first.count;
      batches.push(first);
      this.#shift();
    }
  }

  #shift(): RequestRows | undefined {
    const batch = this.#batches.shift();
    this.#rows -= batch?.count ?? 0;
    this.#chars -= batch?.text.length ?? 0;
    return batch;
  }
}

function countOf(batches: readonly RequestRows[]): number {
  return batches.reduce((sum, { count }) => sum + count, 0);
}

function joined(batches: readonly RequestRows[]): RequestBatch {
  return {
    count: countOf(batches),
    text: batches.map(({ text }) => text).join(''),
    days: new Set(batches.map(({ text }) => text.slice(0, 10))),
  };
}
