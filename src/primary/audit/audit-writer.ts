/**
 * Writes the events of this machine, and requests, to the audit in the database. Nobody waits for it: they wait in bounded queues, and go
 * out in batches, of each queue one at a time. While the database is away they stay there; beyond the bound the oldest are dropped and
 * counted, of events those that no operator caused first.
 *
 * An embedded database that nobody has used is not started for events: they wait until something else, or a reader of the audit, starts
 * it.
 */
import { hostname } from 'node:os';
import type { RequestRows } from '../../contract/audited-requests.ts';
import { toError } from '../../contract/errors.ts';
import { CONFIGURATION, EVENT_KINDS } from '../../contract/events.ts';
import type { Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { atMost } from '../../infra/with-deadline.ts';
import type { EventLog } from '../events/event-log.ts';
import type { MetricsCollector } from '../metrics/metrics-collector.ts';
import type { Storage } from '../storage.ts';
import { type AuditEntry, AuditTable } from './audit-table.ts';
import { isOfRow, lacksPartition } from './day-table.ts';
import { RequestQueue } from './request-queue.ts';
import { RequestTable } from './request-table.ts';
import { WriteLoop } from './write-loop.ts';

interface AuditWriterOptions {
  storage: Pick<Storage, 'database' | 'isUnused'>;
  events: Pick<EventLog, 'entries' | 'onEvent'>;
  /** Those in force. */
  settings: () => Settings['audit'];
  collector: Pick<MetricsCollector, 'count'>;
  logger: Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;
  /** Default: the name of this machine. */
  instance?: string;
  /** For tests; default 1 s. */
  minRetryMs?: number;
}

/** An entry has some kilobytes at most, most have 300 bytes. */
const MAX_WAITING = 2_000;
const BATCH_ROWS = 100;
const MIN_RETRY_MS = 1_000;
const SWEEP_EVERY_MS = 3_600_000;
/** A reader waits this long for what is on its way. */
const READER_MS = 1_000;
const FLUSH_MS = 3_000;
const CANNOT_DROP = 'old days of the audit cannot be dropped; the next try is in an hour';

/** AuditWriter is made once by PrimaryParts, and closed before the database is. */
export class AuditWriter {
  /** For readers. */
  readonly events: AuditTable;
  /** For readers. */
  readonly requests: RequestTable;
  readonly #options: Required<AuditWriterOptions>;
  #waiting: AuditEntry[] = [];
  /** On their way. Until the answer nobody knows whether the database has them. */
  #batch: AuditEntry[] = [];
  readonly #requestQueue = new RequestQueue();
  readonly #eventLoop: WriteLoop;
  readonly #requestLoop: WriteLoop;
  readonly #sweepTimer: NodeJS.Timeout;
  #isSweepDue = true;
  /** Never rejects; null: none is on its way. */
  #sweeping: Promise<void> | null = null;
  #refusedRows = 0;
  /** isAudited: the audit was on before or after the last reload; wasOn: after it. */
  #reload: { isAudited: boolean; wasOn: boolean };
  /** Between the call of close and its end there is no sweep, and what waits is written. */
  #isClosing = false;
  readonly #stops: (() => void)[];

  constructor(options: AuditWriterOptions) {
    this.#options = { instance: hostname(), minRetryMs: MIN_RETRY_MS, ...options };
    const { storage, events, collector, minRetryMs, logger } = this.#options;
    const { adminChanges: wasOn } = options.settings();
    this.#reload = { isAudited: wasOn, wasOn };
    this.events = new AuditTable(storage.database);
    this.requests = new RequestTable(storage.database);
    const common = { minRetryMs, logger, onWritten: () => this.#beginSweep() };
    this.#eventLoop = new WriteLoop({
      ...common,
      ...{ what: 'the audit', waiting: `up to ${MAX_WAITING} events` },
      write: () => this.#writeEvents(),
      isDue: () => this.#waiting.length > 0 || this.#mustSweep,
    });
    this.#requestLoop = new WriteLoop({
      ...common,
      ...{ what: 'the audit of requests', waiting: 'some seconds of requests' },
      write: () => this.#writeRequests(),
      isDue: () => this.#requestQueue.rowCount > 0,
    });
    for (const kind of [...EVENT_KINDS, 'request'])
      collector.count('sluice_audit_dropped_rows_total', [kind], 0);
    for (const entry of events.entries) this.#add(entry);
    this.#stops = [
      events.onEvent((entry) => this.#add(entry)),
      // An embedded database may be in use from here on.
      storage.database.onActivity(() => this.#schedule()),
    ];
    this.#sweepTimer = setInterval(() => {
      this.#isSweepDue = true;
      this.#schedule();
    }, SWEEP_EVERY_MS).unref();
  }

  /** addRequests takes what a worker sent. */
  addRequests(batch: RequestRows): void {
    this.#countDropped('request', this.#requestQueue.add(batch));
    this.#schedule();
  }

  /**
   * whenWritten resolves once the events or requests that wait are written, or cannot be, or after a second. An embedded database is
   * started first, which takes longer. Throws LbError database_starting when that takes too long, or what the start has failed with.
   */
  async whenWritten(what: 'events' | 'requests'): Promise<void> {
    // Before the second begins.
    await this.#options.storage.database.whenOpen();
    await (what === 'events' ? this.#eventLoop : this.#requestLoop).settled(READER_MS);
  }

  /** flush makes a last try, unless the database is away, before it is given away. Takes 3 s at most. */
  async flush(): Promise<void> {
    if (this.#options.storage.isUnused) return;
    const written = Promise.all([this.#eventLoop.flush(), this.#requestLoop.flush()]);
    await atMost(
      written.then(() => this.#sweeping),
      FLUSH_MS,
    );
  }

  /** adopt takes events that another primary of this machine could not write. */
  adopt(entries: readonly AuditEntry[]): void {
    this.#waiting.push(...entries);
    this.#keepBound();
    this.#schedule();
  }

  /**
   * close is flush for ever, and says how many rows were lost.
   * @param passOn gives what could not be written to another primary; resolves with whether it has it
   */
  async close(passOn: (entries: AuditEntry[]) => Promise<boolean> = async () => false): Promise<void> {
    for (const stop of this.#stops.splice(0)) stop();
    clearInterval(this.#sweepTimer);
    this.#isClosing = true;
    const { storage, logger } = this.#options;
    await this.flush();
    let { rowCount: rows } = this.#requestQueue;
    // Whoever writes one again that is there changes nothing.
    const entries = [...this.#batch, ...this.#waiting];
    if (entries.length > 0 && !storage.isUnused && !(await passOn(entries))) rows += entries.length;
    if (rows > 0) logger.warn({ rows }, 'events or requests at the end were not written to the audit');
    this.#eventLoop.stop();
    this.#requestLoop.stop();
  }

  #add(entry: Omit<AuditEntry, 'instance'>): void {
    if (!this.#isAudited(entry)) return;
    this.#waiting.push({ ...entry, instance: this.#options.instance });
    this.#keepBound();
    this.#schedule();
  }

  /** A reload, and who asked for it, also where it has turned the audit off: that must not happen without a trace. */
  #isAudited({ kind, subject }: Pick<AuditEntry, 'kind' | 'subject'>): boolean {
    const isOn = this.#options.settings().adminChanges;
    if (kind === 'reload') this.#reload = { isAudited: isOn || this.#reload.wasOn, wasOn: isOn };
    return kind === 'reload' || subject === CONFIGURATION ? this.#reload.isAudited : isOn;
  }

  #keepBound(): void {
    while (this.#waiting.length > MAX_WAITING) {
      const index = Math.max(
        0,
        this.#waiting.findIndex(({ kind }) => kind !== 'admin'),
      );
      for (const { kind } of this.#waiting.splice(index, 1)) this.#countDropped(kind, 1);
    }
  }

  #countDropped(kind: string, rows: number): void {
    this.#options.collector.count('sluice_audit_dropped_rows_total', [kind], rows);
    (kind === 'request' ? this.#requestLoop : this.#eventLoop).noteDropped(rows);
  }

  #schedule(): void {
    if (this.#options.storage.isUnused) return;
    this.#eventLoop.schedule();
    this.#requestLoop.schedule();
  }

  /** Not where the audit is off: another machine that shares the database may keep its rows for longer. */
  get #mustSweep(): boolean {
    const { adminChanges, requests } = this.#options.settings();
    const isOn = adminChanges || requests !== 'off';
    return isOn && this.#isSweepDue && this.#sweeping === null && !this.#isClosing;
  }

  async #writeEvents(): Promise<void> {
    while (this.#waiting.length > 0) await this.#writeBatch();
  }

  async #writeBatch(): Promise<void> {
    this.#batch = this.#waiting.splice(0, BATCH_ROWS);
    try {
      await this.#write(this.#batch);
    } catch (error) {
      this.#waiting.unshift(...this.#batch);
      this.#keepBound();
      throw error;
    } finally {
      this.#batch = [];
    }
  }

  /** Throws where the database is away, or would take no row as the table is. A row that it refuses is dropped alone. */
  async #write(entries: AuditEntry[]): Promise<void> {
    try {
      await this.events.write(entries);
    } catch (error) {
      if (!isOfRow(error)) throw error;
      const [first] = entries;
      if (entries.length > 1) {
        const half = Math.ceil(entries.length / 2);
        await this.#write(entries.slice(0, half));
        await this.#write(entries.slice(half));
      } else if (first !== undefined) {
        this.#refused(error, first.kind, 1);
      }
    }
  }

  /** No more requests than waited: under load there are always some. */
  async #writeRequests(): Promise<void> {
    for (let left = this.#requestQueue.rowCount; left > 0; ) left -= await this.#writeRequestBatch();
  }

  /** Throws as #write does. One row that is refused costs its batch. @returns how many rows wait no more */
  async #writeRequestBatch(): Promise<number> {
    const batch = this.#requestQueue.next();
    if (batch === null) return Number.POSITIVE_INFINITY;
    try {
      await this.requests.write(batch);
    } catch (error) {
      if (!isOfRow(error) && !lacksPartition(error)) {
        this.#requestQueue.halve();
        throw error;
      }
      this.#refused(error, 'request', batch.count);
    }
    this.#requestQueue.settle();
    return batch.count;
  }

  #refused(error: unknown, kind: string, rows: number): void {
    this.#countDropped(kind, rows);
    const level = this.#refusedRows === 0 ? 'error' : 'debug';
    this.#refusedRows += rows;
    this.#options.logger[level](
      { err: toError(error), kind, rows },
      'the database refuses rows of the audit',
    );
  }

  /** Beside the writing: a partition that somebody has locked takes a second. */
  #beginSweep(): void {
    if (!this.#mustSweep) return;
    // Also where it fails: the next one is early enough.
    this.#isSweepDue = false;
    this.#sweeping = this.#sweep().finally(() => {
      this.#sweeping = null;
    });
  }

  async #sweep(): Promise<void> {
    const { logger, settings } = this.#options;
    try {
      for (const table of [this.events, this.requests]) {
        const { dropped, kept } = await table.dropBefore(settings().retentionMs, () => this.#isClosing);
        if (dropped.length > 0) logger.info({ partitions: dropped }, 'old days of the audit were dropped');
        const partitions = kept.map(({ partition }) => partition);
        if (partitions.length > 0) logger.warn({ partitions, err: kept[0]?.error }, CANNOT_DROP);
      }
    } catch (thrown) {
      logger.warn({ err: toError(thrown) }, CANNOT_DROP);
    }
  }
}
