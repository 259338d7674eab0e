/**
 * Decides when to read the database, so that what a DirectoryFeed holds stays true.
 *
 * States, kept by #run:
 * - loading: nothing is known. Checks the schema and reads everything. Leads to following.
 * - following: reads changes after each wake-up: a NOTIFY, a write of this process, or the poll. A broken connection leads to
 *   loading, because the server that comes back may be another one. So do a schema that does not fit and a restored backup.
 * - waiting: the last read failed. What is held stays as it is, and `degraded` says so. After a pause the loop reads changes
 *   again where only a statement failed, else everything.
 */
import { LbError, toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { assertSchema } from '../infra/postgres/migrations.ts';
import type { Database } from '../infra/postgres/postgres.ts';

export interface ChangeLoopOptions {
  database: Database;
  logger: Logger;
  /** Default 500; with the embedded database 5,000, because this process is told of its writers. */
  pollMs?: number;
  /** Called when the database cannot be read any more, and with null when it can again. */
  onFailure?: (failure: LbError | null) => void;
}

const CHANNELS = ['sluice_clients', 'sluice_api_keys'];
const POLL_MS = 500;
/** Costs 2 ms of CPU in two threads, and only proves that the database still answers. */
const EMBEDDED_POLL_MS = 5_000;
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;
const SWEEP_EVERY_MS = 3_600_000;

export abstract class ChangeLoop {
  readonly #options: ChangeLoopOptions;
  readonly #firstTry = Promise.withResolvers<void>();
  /** Resolves at the first outcome: everything was loaded, or the first try failed; also with close. */
  readonly firstTry = this.#firstTry.promise;
  #stopListening: (() => void)[] = [];
  /** The last snapshot; null: everything must be read. */
  #snapshot: string | null = null;
  /** Database.lossCount when everything was read. */
  #lossCount = 0;
  #loaded = false;
  /** Why the database cannot be read now; null: it can. */
  #failure: LbError | null = null;
  #sweptAtMs = Number.NEGATIVE_INFINITY;
  #done: Promise<void> | null = null;
  #closed = false;
  /** A wake-up that came while the loop was busy. */
  #woken = false;
  #wakeLoop: () => void = () => undefined;
  /** Each waits for a read that begins after it came. */
  #waiters: (() => void)[] = [];

  constructor(options: ChangeLoopOptions) {
    this.#options = options;
  }

  /** Reads everything and returns the snapshot that readChanges goes on from. These three may throw what Database throws. */
  protected abstract load(): Promise<string>;
  /** Reads what has changed since a snapshot, with Database.read and readSnapshot only. Returns the next one; null: load is needed. */
  protected abstract readChanges(snapshot: string): Promise<string | null>;
  /** Removes from the database what nobody needs any more; called once an hour. */
  protected abstract sweep(): Promise<void>;

  /** true until the first load and while the database is away or does not fit: for /readyz. */
  get degraded(): boolean {
    return !this.#loaded || this.#failure !== null;
  }

  /** Why the database cannot be read now; null: it can. */
  get failure(): LbError | null {
    return this.#failure;
  }

  /** Whether everything was loaded once, or is known to be empty. */
  get loaded(): boolean {
    return this.#loaded;
  }

  /** For the first load, before listeners are told of it. */
  protected noteLoaded(): void {
    this.#loaded = true;
    this.#firstTry.resolve();
  }

  /** start begins to load and follow, until close; a second call does nothing. */
  start(): void {
    if (this.#done !== null || this.#closed) return;
    const { database } = this.#options;
    const wake = (): void => this.#wake();
    const stopListening = CHANNELS.map((channel) => database.listen(channel, wake));
    this.#stopListening = [database.onActivity(wake), ...stopListening];
    this.#done = this.#run();
  }

  /** caughtUp resolves once all that was committed before the call was read and told to listeners, or with close. It may never. */
  caughtUp(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const read = new Promise<void>((resolve) => this.#waiters.push(resolve));
    this.#wake();
    return read;
  }

  /** close stops following; the database stays open. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wakeLoop();
    for (const stop of this.#stopListening) stop();
    await this.#done;
    this.#firstTry.resolve();
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  #wake(): void {
    this.#woken = true;
    this.#wakeLoop();
  }

  async #run(): Promise<void> {
    const { database, pollMs = database.singleSession ? EMBEDDED_POLL_MS : POLL_MS } = this.#options;
    let retryMs = MIN_RETRY_MS;
    while (!this.#closed) {
      try {
        await this.#read();
        await this.#sweepHourly();
        if (!this.#woken) await this.#pause(pollMs);
        retryMs = MIN_RETRY_MS;
      } catch (thrown) {
        if (this.#closed) return;
        this.#noteFailure(toError(thrown));
        await this.#pause(retryMs);
        retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
      }
    }
  }

  async #read(): Promise<void> {
    const { database, logger } = this.#options;
    const isLost = database.lossCount !== this.#lossCount;
    // A connection that breaks after each answer must not make this loop read everything without a pause.
    if (isLost && this.#snapshot !== null) await this.#pause(MIN_RETRY_MS);
    if (isLost) this.#snapshot = null;
    this.#woken = false;
    const waiterCount = this.#waiters.length;
    if (this.#snapshot !== null) this.#snapshot = await this.readChanges(this.#snapshot);
    if (this.#snapshot === null) {
      this.#lossCount = database.lossCount;
      await assertSchema(database);
      this.#snapshot = await this.load();
      logger.info('clients loaded');
    }
    if (this.#failure !== null) this.#options.onFailure?.(null);
    this.#failure = null;
    for (const resolve of this.#waiters.splice(0, waiterCount)) resolve();
  }

  async #sweepHourly(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#sweptAtMs < SWEEP_EVERY_MS) return;
    this.#sweptAtMs = nowMs;
    await this.sweep();
  }

  /** Warns once per kind of failure, not once per try. */
  #noteFailure(error: Error): void {
    const failure =
      error instanceof LbError ? error : new LbError('internal_error', error.message, { cause: error });
    if (failure.code !== 'database_unavailable') this.#snapshot = null;
    const level = failure.code === this.#failure?.code ? 'debug' : 'warn';
    this.#failure = failure;
    if (level === 'warn') this.#options.onFailure?.(failure);
    this.#firstTry.resolve();
    const meanwhile = this.#loaded ? 'those read last stay in force' : 'none are known yet';
    this.#options.logger[level](
      { err: error },
      `the clients cannot be read from the database; ${meanwhile}; trying again`,
    );
  }

  /** Ends early by a wake-up. */
  #pause(ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeLoop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
