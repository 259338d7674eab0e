/**
 * The requests of this worker that become rows of the database (`audit.requests`). They go to the primary in batches: it alone talks to
 * the database. Nobody waits for it: while the primary does not read, MAX_UNSENT batches wait at most, and further ones are dropped and
 * counted.
 */
import type { AuditedRequests } from '../contract/audited-requests.ts';
import { systemClock } from '../contract/clock.ts';
import type { WorkerMessage } from '../contract/messages.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';
import type { AccessRecord } from './access-record.ts';
import { auditRow } from './audit-row.ts';

const BATCH_CHARS = 65_536;
const BATCH_EVERY_MS = 200;
/** 1 MiB, some 4,000 rows. */
const MAX_UNSENT = 16;
/** Rows of refused requests where only those are kept: a flood of them must not fill the disk that clients and keys are on. */
const LIMITED_PER_SEC = 1_000;
/** Numbers begin somewhere below it: workers of a machine that count at the same moment meet in one of 10¹⁵ cases. */
const FIRST_NUMBER_MAX = 2 ** 52;

interface RequestAuditDeps {
  /** @param onLeft called once the message has left the process, or cannot; returns false where it cannot */
  send: (message: WorkerMessage, onLeft: () => void) => boolean;
  metrics: WorkerMetrics;
}

/** RequestAudit is made once per worker. */
export class RequestAudit {
  readonly #deps: RequestAuditDeps;
  readonly #dropped: number;
  #number = Math.floor(Math.random() * FIRST_NUMBER_MAX);
  #text = '';
  /** Of all rows in the text: the primary makes its partition. */
  #day = '';
  #count = 0;
  #unsentBatches = 0;
  #timer: NodeJS.Timeout | null = null;
  #secondFromMs = Number.NEGATIVE_INFINITY;
  #inSecond = 0;
  #unheardRows = 0;

  constructor(deps: RequestAuditDeps) {
    this.#deps = deps;
    this.#dropped = deps.metrics.series('sluice_audit_dropped_rows_total', 'request');
  }

  /** Rows that were lost because there is no primary any more, which could count them. */
  get unheardRows(): number {
    return this.#unheardRows;
  }

  /**
   * note takes the whole record of a request that is over; it never waits.
   * @param audited of the plan: with `limited`, rows beyond LIMITED_PER_SEC are dropped
   */
  note(record: AccessRecord, audited: AuditedRequests): void {
    if (audited === 'limited' && !this.#hasRoom()) {
      this.#deps.metrics.add(this.#dropped, 1);
      return;
    }
    const { time } = record;
    if (!time.startsWith(this.#day)) this.flush();
    if (this.#count === 0) this.#day = time.slice(0, 10);
    this.#text += auditRow(record, this.#number++);
    this.#count++;
    if (this.#text.length >= BATCH_CHARS) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), BATCH_EVERY_MS).unref();
  }

  /** flush sends what waits to be a batch; also for the end of the worker. */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const [count, text] = [this.#count, this.#text];
    this.#count = 0;
    this.#text = '';
    if (count > 0 && !this.#send({ type: 'request-rows', count, text }))
      this.#deps.metrics.add(this.#dropped, count);
  }

  #hasRoom(): boolean {
    const nowMs = systemClock.monotonicMs();
    if (nowMs - this.#secondFromMs >= 1_000) {
      this.#secondFromMs = nowMs;
      this.#inSecond = 0;
    }
    return ++this.#inSecond <= LIMITED_PER_SEC;
  }

  #send(message: Extract<WorkerMessage, { type: 'request-rows' }>): boolean {
    if (this.#unsentBatches >= MAX_UNSENT) return false;
    this.#unsentBatches++;
    const isSent = this.#deps.send(message, () => {
      this.#unsentBatches--;
    });
    if (!isSent) this.#unheardRows += message.count;
    return isSent;
  }
}
