/**
 * Time that only passes when the simulation says so: a queue of events, each run at its moment, one after the other. Seconds
 * of it cost milliseconds, and a seed repeats every order of events.
 */

interface Event {
  atMs: number;
  /** Orders events of one moment: first come, first run. */
  turn: number;
  fn: (() => void) | null;
  quiet: boolean;
}

export class VirtualTime {
  #nowMs = 0;
  #turns = 0;
  readonly #heap: Event[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  /** at runs fn at a moment, now at the earliest; returns how to cancel that. */
  at(atMs: number, fn: () => void): () => void {
    return this.#add(atMs, fn, false);
  }

  after(delayMs: number, fn: () => void): () => void {
    return this.at(this.#nowMs + delayMs, fn);
  }

  /** atQuietly is for events that settle no promise anybody else waits for: they cost no turn of the real loop. */
  atQuietly(atMs: number, fn: () => void): void {
    this.#add(atMs, fn, true);
  }

  /** run goes through all events up to a moment; afterEach sees the world when each one's promises have settled. */
  async run(untilMs: number, afterEach: () => void = () => undefined): Promise<void> {
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined || event.atMs > untilMs) break;
      this.#pop();
      if (event.fn === null) continue;
      this.#nowMs = event.atMs;
      event.fn();
      if (!event.quiet) await allSettled();
      afterEach();
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  #add(atMs: number, fn: () => void, quiet: boolean): () => void {
    const event: Event = { atMs: Math.max(atMs, this.#nowMs), turn: this.#turns++, fn, quiet };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || isBefore(parent, event)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = event;
    return () => {
      event.fn = null;
    };
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      const [left, right] = [heap[down], heap[down + 1]];
      if (left === undefined) break;
      const child = right !== undefined && isBefore(right, left) ? right : left;
      if (child === right) down++;
      if (isBefore(last, child)) break;
      heap[at] = child;
      at = down;
    }
    heap[at] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.turn < b.turn);
}

/** Every promise that can settle without another event has done so when the real loop comes round. */
function allSettled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
