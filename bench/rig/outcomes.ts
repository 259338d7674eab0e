/** What became of every request of a constant load. The thread that makes the load writes it, any other reads it. */
import { percentile } from './stats.ts';

/** How a request without an answer ended; a request with one has its status. */
const LOSSES = {
  /** The connection could not be opened. */
  '-1': 'refused',
  /** The connection ended before the first byte of the answer. */
  '-2': 'cut',
  /** The connection ended in the middle of the answer, or the answer was not one. */
  '-3': 'broken',
  /** No whole answer until the deadline of the load. */
  '-4': 'late',
} as const;
export const WAITING = 0;
export const REFUSED = -1;
export const CUT = -2;
export const BROKEN = -3;
export const LATE = -4;

/** nowMs is the monotonic clock of the machine: the same in all threads, unlike performance.now(). */
export function nowMs(): number {
  const [sec, ns] = process.hrtime();
  return sec * 1_000 + ns / 1e6;
}

/** Tally adds up the requests that were due in a window of time. All of them count, whatever became of them. */
export interface Tally {
  due: number;
  /** Answers with a status below 400. */
  good: number;
  /** All others that are over. */
  failed: number;
  /** Requests that have neither an answer nor failed. */
  waiting: number;
  /** Failures by status or kind of loss. */
  failures: Record<string, number>;
  /** Good answers by the value of X-Backend. */
  backends: Record<string, number>;
  /** Latency of good answers, from the time when the request was due. */
  p50Ms: number;
  p99Ms: number;
  /** The longest time from the sending of a request until an answer of any status, or a failure. */
  maxMs: number;
}

/** OutcomeTable is one row per request in shared memory: when it was due, how long it took, how it ended, and who answered. */
export class OutcomeTable {
  readonly shared: SharedArrayBuffer;
  readonly dueMs: Float64Array;
  readonly latencyMs: Float32Array;
  /** How much of it a request waited for a free connection. */
  readonly queuedMs: Float32Array;
  /** WAITING, the status, or one of the losses. */
  readonly outcome: Int16Array;
  /** The first byte of X-Backend; 0: none. */
  readonly backend: Uint8Array;
  /** How many rows are in use. */
  readonly count: Int32Array;

  constructor(rows: number, shared = new SharedArrayBuffer(8 + rows * 20)) {
    this.shared = shared;
    this.count = new Int32Array(shared, 0, 1);
    this.dueMs = new Float64Array(shared, 8, rows);
    this.latencyMs = new Float32Array(shared, 8 + rows * 8, rows);
    this.queuedMs = new Float32Array(shared, 8 + rows * 12, rows);
    this.outcome = new Int16Array(shared, 8 + rows * 16, rows);
    this.backend = new Uint8Array(shared, 8 + rows * 18, rows);
  }

  /** begin writes that a request is sent now. */
  begin(row: number): void {
    this.queuedMs[row] = nowMs() - this.dueMs[row]!;
  }

  /** end writes how a request ended. A request ends once. */
  end(row: number, outcome: number, backend = 0): void {
    this.latencyMs[row] = nowMs() - this.dueMs[row]!;
    this.backend[row] = backend;
    this.outcome[row] = outcome;
  }

  /** rowsBetween yields the rows that were due in [fromMs, toMs), in order. */
  *rowsBetween(fromMs: number, toMs: number): Generator<number> {
    const count = this.count[0]!;
    for (let row = 0; row < count; row += 1) {
      const due = this.dueMs[row]!;
      if (due >= toMs) return;
      if (due >= fromMs) yield row;
    }
  }

  tally(fromMs = 0, toMs = Number.POSITIVE_INFINITY): Tally {
    const sum: Tally = {
      ...{ due: 0, good: 0, failed: 0, waiting: 0, failures: {}, backends: {} },
      ...{ p50Ms: 0, p99Ms: 0, maxMs: 0 },
    };
    const latencies: number[] = [];
    for (const row of this.rowsBetween(fromMs, toMs)) {
      const outcome = this.outcome[row]!;
      sum.due += 1;
      if (outcome === WAITING) {
        sum.waiting += 1;
        continue;
      }
      sum.maxMs = Math.max(sum.maxMs, this.latencyMs[row]! - this.queuedMs[row]!);
      if (isGood(outcome)) {
        sum.good += 1;
        latencies.push(this.latencyMs[row]!);
        grow(sum.backends, String.fromCharCode(this.backend[row]!));
      } else {
        sum.failed += 1;
        grow(sum.failures, LOSSES[String(outcome) as keyof typeof LOSSES] ?? String(outcome));
      }
    }
    sum.p50Ms = percentile(latencies, 0.5) || 0;
    sum.p99Ms = percentile(latencies, 0.99) || 0;
    return sum;
  }
}

/** isGood tells whether an outcome is an answer with a status below 400. */
export function isGood(outcome: number): boolean {
  return outcome >= 200 && outcome < 400;
}

function grow(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}
