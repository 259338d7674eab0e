/**
 * What totals were at the last samples, so that their growth over some seconds can be told. A row has a fixed number of totals, and one
 * column of them per sample. Totals begin at 0, when the window or the row does; a row that a sample does not name is dropped.
 */
interface Row {
  values: Float64Array;
  /** Of the last sample that named it. */
  sample: number;
}

/** RateWindow is made by Traffic. Memory: 8 bytes × width × (samples + 1) for each row. */
export class RateWindow {
  readonly #width: number;
  readonly #columns: number;
  readonly #rows = new Map<string, Row>();
  /** Monotonic, by column. */
  readonly #atMs: Float64Array;
  #column = 0;
  #sample = 0;

  /** @param samples how many to look back at most */
  constructor(width: number, samples: number, startMs: number) {
    this.#width = width;
    this.#columns = samples + 1;
    this.#atMs = new Float64Array(this.#columns).fill(startMs);
  }

  /** begin opens the column of a new sample, in which all totals are 0. */
  begin(nowMs: number): void {
    this.#sample++;
    this.#column = this.#sample % this.#columns;
    this.#atMs[this.#column] = nowMs;
  }

  /** add adds to a total of the sample. @param at 0 … width - 1 */
  add(key: string, at: number, value: number): void {
    this.#cellsOf(key)[this.#column * this.#width + at]! += value;
  }

  /** addElder adds to a total that is older than the window: what it was at its first sample is no growth. */
  addElder(key: string, at: number, value: number): void {
    const isNew = !this.#rows.has(key);
    const cells = this.#cellsOf(key);
    if (isNew)
      for (let column = 0; column < this.#columns; column++) cells[column * this.#width + at] = value;
    else cells[this.#column * this.#width + at]! += value;
  }

  /** addAll adds the first `count` values to totals from `at` on. */
  addAll(key: string, at: number, values: ArrayLike<number>, count: number): void {
    const cells = this.#cellsOf(key);
    const first = this.#column * this.#width + at;
    for (let i = 0; i < count; i++) cells[first + i]! += values[i] ?? 0;
  }

  /** end drops the rows that the sample has not named. */
  end(): void {
    for (const [key, { sample }] of this.#rows) if (sample !== this.#sample) this.#rows.delete(key);
  }

  /** seconds that have passed over the last samples, as far as there were so many. */
  seconds(samples: number): number {
    return ((this.#atMs[this.#column] ?? 0) - (this.#atMs[this.#columnBefore(samples)] ?? 0)) / 1_000;
  }

  /** growth of each total of a row over the last samples, never below 0. All 0 where there is no such row. */
  growth(key: string, samples: number): Float64Array {
    const grown = new Float64Array(this.#width);
    const values = this.#rows.get(key)?.values;
    if (values === undefined) return grown;
    const [to, from] = [this.#column * this.#width, this.#columnBefore(samples) * this.#width];
    for (let i = 0; i < this.#width; i++) grown[i] = Math.max(0, values[to + i]! - values[from + i]!);
    return grown;
  }

  #columnBefore(samples: number): number {
    const back = Math.min(samples, this.#columns - 1, this.#sample);
    return (this.#sample - back) % this.#columns;
  }

  /** All columns of a row; that of the sample begins at 0. */
  #cellsOf(key: string): Float64Array {
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = { values: new Float64Array(this.#columns * this.#width), sample: 0 };
      this.#rows.set(key, row);
    }
    if (row.sample !== this.#sample) {
      const from = this.#column * this.#width;
      row.values.fill(0, from, from + this.#width);
      row.sample = this.#sample;
    }
    return row.values;
  }
}
