/**
 * By how much totals have grown in the last samples. A row has a fixed number of totals. They begin at 0, when the window or the row
 * does; a row that a sample does not name is dropped. A total that falls has begun anew, and has not grown.
 */
interface Row {
  /** Of the sample before, and of this one. */
  before: Float64Array;
  now: Float64Array;
  /** One column per sample. */
  grown: Float64Array;
  /** The last one that named it. */
  sample: number;
}

/** RateWindow is made by Traffic. Memory: 8 bytes × width × (samples + 2) for each row. */
export class RateWindow {
  readonly #width: number;
  readonly #samples: number;
  readonly #rows = new Map<string, Row>();
  /** Monotonic: when each sample ended, and the oldest began. */
  readonly #atMs: Float64Array;
  #sample = 0;

  /** @param samples how many to look back at most */
  constructor(width: number, samples: number, startMs: number) {
    this.#width = width;
    this.#samples = samples;
    this.#atMs = new Float64Array(samples + 1).fill(startMs);
  }

  /** begin opens a new sample, in which all totals are 0. */
  begin(nowMs: number): void {
    this.#sample++;
    this.#atMs[this.#sample % this.#atMs.length] = nowMs;
  }

  /** add adds to a total of the sample. @param at 0 … width - 1 */
  add(key: string, at: number, value: number): void {
    this.#rowOf(key).now[at]! += value;
  }

  /** addElder adds to a total that is older than the window: what it was at its first sample is no growth. */
  addElder(key: string, at: number, value: number): void {
    const isNew = !this.#rows.has(key);
    const { before, now } = this.#rowOf(key);
    now[at]! += value;
    if (isNew) before[at] = value;
  }

  /** addAll adds the first `count` values to totals from `at` on. */
  addAll(key: string, at: number, values: ArrayLike<number>, count: number): void {
    const { now } = this.#rowOf(key);
    for (let i = 0; i < count; i++) now[at + i]! += values[i] ?? 0;
  }

  /**
   * addGrowth makes rows the sums of those of another window, which has ended its sample: they grow by what each of those has grown. A
   * sum of totals would fall when one of them is dropped. @param keyOf the row here of a row there
   */
  addGrowth(parts: RateWindow, keyOf: (key: string) => string): void {
    for (const key of parts.#rows.keys()) {
      const { grown } = this.#rowOf(keyOf(key));
      const first = this.#firstOf(this.#sample);
      parts.growth(key, 1).forEach((value, i) => {
        grown[first + i]! += value;
      });
    }
  }

  /** end drops the rows that the sample has not named. */
  end(): void {
    const first = this.#firstOf(this.#sample);
    for (const [key, { sample, before, now, grown }] of this.#rows) {
      if (sample !== this.#sample) this.#rows.delete(key);
      else for (let i = 0; i < this.#width; i++) grown[first + i]! += Math.max(0, now[i]! - before[i]!);
    }
  }

  /** seconds that have passed over the last samples, as far as there were so many. */
  seconds(samples: number): number {
    const atMs = (sample: number) => this.#atMs[sample % this.#atMs.length] ?? 0;
    return (atMs(this.#sample) - atMs(this.#sample - this.#back(samples))) / 1_000;
  }

  /** growth of each total of a row over the last samples, never below 0. All 0 where there is no such row. */
  growth(key: string, samples: number): Float64Array {
    const sum = new Float64Array(this.#width);
    const grown = this.#rows.get(key)?.grown;
    if (grown === undefined) return sum;
    for (let back = 0; back < this.#back(samples); back++) {
      const first = this.#firstOf(this.#sample - back);
      for (let i = 0; i < this.#width; i++) sum[i]! += grown[first + i]!;
    }
    return sum;
  }

  #back(samples: number): number {
    return Math.min(samples, this.#samples, this.#sample);
  }

  /** The first cell of the column of a sample. */
  #firstOf(sample: number): number {
    return (sample % this.#samples) * this.#width;
  }

  /** A row of this sample, in which its totals begin at 0. */
  #rowOf(key: string): Row {
    let row = this.#rows.get(key);
    if (row === undefined) {
      const zeros = (columns = 1) => new Float64Array(columns * this.#width);
      row = { before: zeros(), now: zeros(), grown: zeros(this.#samples), sample: 0 };
      this.#rows.set(key, row);
    }
    if (row.sample === this.#sample) return row;
    [row.before, row.now] = [row.now, row.before];
    row.now.fill(0);
    const first = this.#firstOf(this.#sample);
    row.grown.fill(0, first, first + this.#width);
    row.sample = this.#sample;
    return row;
  }
}
