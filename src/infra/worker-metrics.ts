import { cellCount, type IsLive, METRICS, type MetricName, type MetricsDelta } from '../contract/metrics.ts';

const INITIAL_CELLS = 1024;
const NO_BOUNDS: readonly number[] = [];

interface Series {
  name: MetricName;
  labels: string[];
  index: number;
  cells: number;
}

/**
 * WorkerMetrics holds the counters of a worker as plain numbers. prom-client hashes the labels on every call; here a label set
 * becomes a cell of one Float64Array once, and a request only adds to cells. Once a second the worker sends what has grown to
 * the primary, which keeps the totals.
 */
export class WorkerMetrics {
  #values = new Float64Array(INITIAL_CELLS);
  /** What the primary has of each cell. */
  #sent = new Float64Array(INITIAL_CELLS);
  #used = 0;
  readonly #byKey = new Map<string, Series>();
  /** Bounds of the histogram that begins at a cell. A plain array, because every request reads it twice. */
  readonly #boundsAt: (readonly number[])[] = [];
  /** First cells of forgotten series, by their number of cells. */
  readonly #free = new Map<number, number[]>();
  /** Series that the primary does not know yet. */
  readonly #fresh = new Set<Series>();

  /**
   * series finds or makes the cell of a metric and its label values, which are in the order of METRICS. Callers keep the cell,
   * because finding it joins texts. Labels come from the configuration or closed sets, which bounds the number of cells.
   */
  series(name: MetricName, ...labels: string[]): number {
    const key = [name, ...labels].join('\u0000');
    const known = this.#byKey.get(key);
    if (known !== undefined) return known.index;
    const definition = METRICS[name];
    const cells = cellCount(definition);
    const index = this.#free.get(cells)?.pop() ?? this.#newCells(cells);
    const made: Series = { name, labels, index, cells };
    this.#byKey.set(key, made);
    this.#boundsAt.fill(definition.bucketsSec, index, index + cells);
    this.#fresh.add(made);
    return index;
  }

  /**
   * keepOnly forgets every other series; new series reuse their cells. Call it only when no request of an older plan is left:
   * nobody may hold a cell that is forgotten.
   */
  keepOnly(isLive: IsLive): void {
    for (const [key, series] of this.#byKey) {
      const { name, labels, index, cells } = series;
      if (isLive(name, labels)) continue;
      this.#byKey.delete(key);
      this.#fresh.delete(series);
      this.#values.fill(0, index, index + cells);
      this.#sent.fill(0, index, index + cells);
      const free = this.#free.get(cells) ?? [];
      free.push(index);
      this.#free.set(cells, free);
    }
  }

  /** add counts n on a counter. */
  add(index: number, n: number): void {
    this.#values[index]! += n;
  }

  /** set replaces the value of a counter whose total is kept elsewhere. */
  set(index: number, value: number): void {
    this.#values[index] = value;
  }

  /** observe counts a duration in a histogram. */
  observe(index: number, seconds: number): void {
    const bounds = this.#boundsAt[index] ?? NO_BOUNDS;
    const values = this.#values;
    let bucket = 0;
    while (bucket < bounds.length && seconds > bounds[bucket]!) bucket++;
    values[index + bucket]! += 1;
    values[index + bounds.length + 1]! += 1;
    values[index + bounds.length + 2]! += seconds;
  }

  /** takeDelta is what has not been sent yet; whoever calls it must send it. */
  takeDelta(): MetricsDelta {
    const cells: number[] = [];
    for (const { index, cells: count } of this.#byKey.values()) {
      for (let i = index; i < index + count; i++) {
        const growth = this.#values[i]! - this.#sent[i]!;
        if (growth === 0) continue;
        cells.push(i, growth);
        this.#sent[i] = this.#values[i]!;
      }
    }
    const series = [...this.#fresh].map(({ index, name, labels }) => ({ index, name, labels }));
    this.#fresh.clear();
    return { series, cells };
  }

  #newCells(count: number): number {
    const index = this.#used;
    this.#used += count;
    if (this.#used > this.#values.length) {
      const size = Math.max(this.#values.length * 2, this.#used);
      this.#values = enlarged(this.#values, size);
      this.#sent = enlarged(this.#sent, size);
    }
    for (let cell = index; cell < this.#used; cell++) this.#boundsAt.push(NO_BOUNDS);
    return index;
  }
}

function enlarged(old: Float64Array, size: number): Float64Array<ArrayBuffer> {
  const next = new Float64Array(size);
  next.set(old);
  return next;
}
