/**
 * The last hour, a sample per second. Memory: 4 bytes × 3,600 × 8 series (115 KB), and × 3 for each worker (43 KB); what is of a worker
 * is of its slot, and goes on with the process that replaces it.
 *
 * Samples come about once a second. Each has the place of its second. A place that none came for has a copy of the next sample, where it is
 * the only one, as the pace of samples drifts; several stay empty.
 */
import { systemClock } from '../../contract/clock.ts';
import { HISTORY_SEC, HISTORY_SERIES, type History, WORKER_SERIES } from '../../contract/status.ts';

const MS_PER_SEC = 1_000;
/** JSON of a 32-bit number would be 17 digits long. */
const DECIMALS = 1_000;

type Values<Name extends string> = Record<Name, number | null>;
type Ring<Name extends string> = Record<Name, Float32Array>;

export type HistorySample = Values<(typeof HISTORY_SERIES)[number]>;
export type WorkerSample = Values<(typeof WORKER_SERIES)[number]> & { id: number };

/** HistoryRing is made by the StatusBoard. */
export class HistoryRing {
  readonly #series = ringOf(HISTORY_SERIES);
  readonly #workers = new Map<number, Ring<(typeof WORKER_SERIES)[number]>>();
  readonly #startMs: number;
  /** Seconds since the start, of the last sample; its place in the rings is this modulo their length. */
  #second = 0;

  /** @param startMs monotonic */
  constructor(startMs: number) {
    this.#startMs = startMs;
  }

  /** put takes the sample of a second. @param nowMs monotonic @param workers those of all slots that are wanted */
  put(nowMs: number, sample: HistorySample, workers: readonly WorkerSample[]): void {
    const second = Math.round((nowMs - this.#startMs) / MS_PER_SEC);
    const missed = second - this.#second - 1;
    const isFilled = missed === 1;
    const firstMissed = Math.max(this.#second + 1, second - HISTORY_SEC);
    for (let each = firstMissed; each < second; each++)
      this.#write(each, isFilled ? sample : null, isFilled ? workers : []);
    this.#write(second, sample, workers);
    this.#second = second;
    const wanted = new Set(workers.map(({ id }) => id));
    for (const id of this.#workers.keys()) if (!wanted.has(id)) this.#workers.delete(id);
  }

  /** view shows the last seconds. @param seconds 1 … HISTORY_SEC @param nowMs monotonic @param wallMs at the same moment */
  view(seconds: number, nowMs = systemClock.monotonicMs(), wallMs = systemClock.wallMs()): History {
    const agoMs = nowMs - this.#startMs - this.#second * MS_PER_SEC;
    const read = <Name extends string>(names: readonly Name[], ring: Ring<Name>) =>
      Object.fromEntries(names.map((name) => [name, this.#last(seconds, ring[name])])) as Record<
        Name,
        (number | null)[]
      >;
    return {
      stepSec: 1,
      endsAt: new Date(wallMs - agoMs).toISOString(),
      series: read(HISTORY_SERIES, this.#series),
      workers: [...this.#workers].map(([id, ring]) => ({ id, ...read(WORKER_SERIES, ring) })),
    };
  }

  #last(seconds: number, values: Float32Array): (number | null)[] {
    const last: (number | null)[] = [];
    for (let second = this.#second - seconds + 1; second <= this.#second; second++) {
      const value = second < 0 ? Number.NaN : values[second % HISTORY_SEC]!;
      last.push(Number.isNaN(value) ? null : Math.round(value * DECIMALS) / DECIMALS);
    }
    return last;
  }

  #write(second: number, sample: HistorySample | null, workers: readonly WorkerSample[]): void {
    const place = second % HISTORY_SEC;
    for (const name of HISTORY_SERIES) this.#series[name][place] = sample?.[name] ?? Number.NaN;
    for (const ring of this.#workers.values())
      for (const name of WORKER_SERIES) ring[name][place] = Number.NaN;
    for (const worker of workers) {
      const ring = this.#workers.get(worker.id) ?? ringOf(WORKER_SERIES);
      this.#workers.set(worker.id, ring);
      for (const name of WORKER_SERIES) ring[name][place] = worker[name] ?? Number.NaN;
    }
  }
}

function ringOf<Name extends string>(names: readonly Name[]): Ring<Name> {
  return Object.fromEntries(
    names.map((name) => [name, new Float32Array(HISTORY_SEC).fill(Number.NaN)]),
  ) as Ring<Name>;
}
