/**
 * Virtual time: a queue of events that run one after the other, each at its time. Seconds take milliseconds, and a seed
 * repeats the order of events.
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

  /** at runs fn at a time, not before now; returns a function that cancels it. */
  at(atMs: number, fn: () => void): () => void {
    return this.#add(atMs, fn, false);
  }

  after(delayMs: number, fn: () => void): () => void {
    return this.at(this.#nowMs + delayMs, fn);
  }

  /** atQuietly is for events that settle no promise: they need no turn of the real event loop. */
  atQuietly(atMs: number, fn: () => void): void {
    this.#add(atMs, fn, true);
  }

  /** run runs all events up to a time; afterEach is called after each one, when its promises have settled. */
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

/** After one turn of the real loop, every promise that needs no other event has settled. */
function allSettled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
