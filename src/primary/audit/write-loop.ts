import { LbError, toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { atMost } from '../../infra/with-deadline.ts';

interface WriteLoopOptions {
  /** `the audit`: for the log. */
  what: string;
  /** What waits meanwhile: for the log. */
  waiting: string;
  /** Writes what waits; throws where the same is to be tried again. */
  write: () => Promise<void>;
  isDue: () => boolean;
  /** Called after a write that succeeded. */
  onWritten: () => void;
  minRetryMs: number;
  logger: Pick<Logger, 'debug' | 'info' | 'warn'>;
}

/** What happens in one moment goes out together. */
const GATHER_MS = 100;
const MAX_RETRY_MS = 5_000;

/** WriteLoop writes one queue of the audit, a write at a time, and after one that failed waits longer and longer. Made by AuditWriter. */
export class WriteLoop {
  readonly #options: WriteLoopOptions;
  /** Never rejects; null: nothing is on its way. */
  #work: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  /** null: the last try succeeded. */
  #failure: { code: string; retryMs: number; droppedRows: number } | null = null;
  #isStopped = false;

  constructor(options: WriteLoopOptions) {
    this.#options = options;
  }

  /** schedule begins after a while, unless that is under way. */
  schedule(): void {
    if (this.#timer !== null || this.#work !== null || this.#isStopped || !this.#options.isDue()) return;
    this.#timer = setTimeout(() => this.#begin(), this.#failure?.retryMs ?? GATHER_MS).unref();
  }

  /** settled begins at once, and resolves when what waits is written, or cannot be, or after timeoutMs. */
  async settled(timeoutMs: number): Promise<void> {
    this.#begin();
    await atMost(this.#work ?? undefined, timeoutMs);
  }

  /** flush makes a last try, unless the last one failed. */
  async flush(): Promise<void> {
    await this.#work;
    if (this.#failure === null) this.#begin();
    await this.#work;
  }

  /** noteDropped counts rows for the word that it writes again. */
  noteDropped(rows: number): void {
    if (this.#failure !== null) this.#failure.droppedRows += rows;
  }

  stop(): void {
    this.#isStopped = true;
    this.#clearTimer();
  }

  #begin(): void {
    this.#clearTimer();
    if (this.#work !== null || this.#isStopped || !this.#options.isDue()) return;
    this.#work = this.#write().finally(() => {
      this.#work = null;
      this.schedule();
    });
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #write(): Promise<void> {
    try {
      await this.#options.write();
    } catch (thrown) {
      this.#failed(thrown);
      return;
    }
    this.#succeeded();
    this.#options.onWritten();
  }

  #succeeded(): void {
    if (this.#failure === null) return;
    const { droppedRows } = this.#failure;
    this.#failure = null;
    this.#options.logger.info({ droppedRows }, `${this.#options.what} is written again`);
  }

  #failed(thrown: unknown): void {
    const code = thrown instanceof LbError ? thrown.code : 'internal_error';
    const { minRetryMs, logger, what, waiting } = this.#options;
    const before = this.#failure;
    const retryMs = before === null ? minRetryMs : Math.min(before.retryMs * 2, MAX_RETRY_MS);
    this.#failure = { code, retryMs, droppedRows: before?.droppedRows ?? 0 };
    const isNews = code !== before?.code && code !== 'database_starting';
    logger[isNews ? 'warn' : 'debug']({ err: toError(thrown) }, `${what} cannot be written; ${waiting} wait`);
  }
}
