/**
 * Counters of a worker as plain numbers. prom-client hashes the labels on every call; here a label set is resolved to a
 * cell once, at load or on first sight, and a request only adds to cells of one Float64Array. Once a second the growth
 * is taken and sent to the primary, which keeps the totals: a scrape never waits for a worker, and a total never falls
 * when one is replaced.
 */
import { definitionOf, type MetricKind, type MetricName, type MetricsDelta } from '../contract/metrics.ts';

/** Cells behind the buckets of a histogram: observations above the last bound, count, sum. */
const HISTOGRAM_EXTRA_CELLS = 3;

const INITIAL_CELLS = 1024;
const NO_BOUNDS: readonly number[] = [];

interface Series {
  index: number;
  cells: number;
  kind: MetricKind;
  bounds: readonly number[];
}

export class WorkerMetrics {
  #values = new Float64Array(INITIAL_CELLS);
  /** What the primary has of each cell. */
  #sent = new Float64Array(INITIAL_CELLS);
  #used = 0;
  readonly #byKey = new Map<string, Series>();
  readonly #byIndex = new Map<number, Series>();
  /** Bounds of the histogram that begins at a cell; a plain array, since every request looks here twice. */
  readonly #boundsAt: (readonly number[])[] = [];
  #fresh: MetricsDelta['series'] = [];

  /**
   * series finds or makes the cell of a metric and its label values, in the order of the table. Call it at load, or keep
   * the index by small integers; it is bounded because labels come from the configuration or closed sets.
   */
  series(name: MetricName, ...labels: string[]): number {
    const key = [name, ...labels].join('\u0000');
    const known = this.#byKey.get(key);
    if (known !== undefined) return known.index;
    const { kind, bucketsSec } = definitionOf(name);
    const bounds = bucketsSec ?? NO_BOUNDS;
    const cells = kind === 'histogram' ? bounds.length + HISTOGRAM_EXTRA_CELLS : 1;
    const made: Series = { index: this.#used, cells, kind, bounds };
    this.#used += cells;
    if (this.#used > this.#values.length) this.#grow();
    this.#byKey.set(key, made);
    this.#byIndex.set(made.index, made);
    for (let cell = made.index; cell < this.#used; cell++) this.#boundsAt.push(bounds);
    this.#fresh.push({ index: made.index, name, labels });
    return made.index;
  }

  /** add counts n on a counter. */
  add(index: number, n: number): void {
    this.#values[index]! += n;
  }

  /** set replaces the value of a gauge, or of a counter that somebody else counts and that never falls. */
  set(index: number, value: number): void {
    this.#values[index] = value;
  }

  /** observe files a duration in a histogram. */
  observe(index: number, seconds: number): void {
    const bounds = this.#boundsAt[index] ?? NO_BOUNDS;
    const values = this.#values;
    let bucket = 0;
    while (bucket < bounds.length && seconds > bounds[bucket]!) bucket++;
    values[index + bucket]! += 1;
    values[index + bounds.length + 1]! += 1;
    values[index + bounds.length + 2]! += seconds;
  }

  /** takeDelta is what has not been sent yet; whoever calls it must send it. Gauges come with their value each time. */
  takeDelta(): MetricsDelta {
    const cells: number[] = [];
    for (const { index, cells: count, kind } of this.#byIndex.values()) {
      for (let i = index; i < index + count; i++) {
        const value = this.#values[i]!;
        const growth = value - this.#sent[i]!;
        if (growth === 0) continue;
        cells.push(i, kind === 'gauge' ? value : growth);
        this.#sent[i] = value;
      }
    }
    const series = this.#fresh;
    this.#fresh = [];
    return { series, cells };
  }

  #grow(): void {
    const size = Math.max(this.#values.length * 2, this.#used);
    const grow = (old: Float64Array): Float64Array<ArrayBuffer> => {
      const next = new Float64Array(size);
      next.set(old);
      return next;
    };
    this.#values = grow(this.#values);
    this.#sent = grow(this.#sent);
  }
}
