/**
 * Keeps a picture of a table true to the database. What is read, and who is told, is the table's business.
 *
 * States, kept by #run: *loading* (nothing is known of this connection's past: check the schema, read everything),
 * *following* (asks for changes at every wake-up: a NOTIFY, a write of this process, or pollMs), *waiting* (the database
 * is away: what was known last stays in force, `degraded` says so; loading is tried again after a pause). Any failure
 * leads to waiting, whose end is always loading, as does a connection that broke unnoticed: a server that comes back may
 * be another one, with another past.
 *
 * The embedded database is asked only when somebody may have written: each poll costs its thread and this one 2 ms of CPU.
 */
import { type ErrorCode, LbError, toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { assertSchema } from '../infra/postgres/migrations.ts';
import type { Database } from '../infra/postgres/postgres.ts';
import type { PostgresListener } from '../infra/postgres/postgres-listener.ts';

/** FollowedTable is what a follower reads; every method may throw what Database throws. */
export interface FollowedTable {
  /** NOTIFY channel of its changes. */
  readonly channel: string;
  /** For log lines: `clients`, `API keys`. */
  readonly what: string;
  /** Reads everything, tells of it and returns where to go on from. */
  load(): Promise<string>;
  /**
   * Reads what has changed since, with Database.read alone, tells of it and returns where to go on from; null: so much that
   * load is cheaper.
   */
  readChanges(horizon: string): Promise<string | null>;
  /** Removes from the database what nobody needs any more; called once an hour. */
  sweep(): Promise<void>;
}

export interface TableFollowerOptions {
  database: Database;
  logger: Logger;
  /** Default 500. */
  pollMs?: number;
  /** false: the poll alone, for tests of it. */
  notified?: boolean;
}

const POLL_MS = 500;
/** A database in which nothing happens is asked all the same so often: one that hangs shows it by not answering. */
const ASK_ANYWAY_MS = 5_000;
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;
const SWEEP_EVERY_MS = 3_600_000;

export class TableFollower {
  readonly #table: FollowedTable;
  readonly #options: TableFollowerOptions;
  readonly #firstLoad = Promise.withResolvers<boolean>();
  #listener: PostgresListener | null = null;
  #loaded = false;
  /** Why the database cannot be read now; null: it can. */
  #failure: ErrorCode | null = null;
  #sweptAtMs = Number.NEGATIVE_INFINITY;
  #done: Promise<void> | null = null;
  #closed = false;
  /** A wake-up that came while the loop was busy. */
  #woken = false;
  #wakeLoop: () => void = () => undefined;

  constructor(table: FollowedTable, options: TableFollowerOptions) {
    this.#table = table;
    this.#options = options;
  }

  /** true until the first load and while the database is away or does not fit. */
  get degraded(): boolean {
    return !this.#loaded || this.#failure !== null;
  }

  /** start begins to load and follow, until close; a second call does nothing. */
  start(): void {
    if (this.#done !== null || this.#closed) return;
    const { database, notified = true } = this.#options;
    const onWake = (): void => this.wake();
    if (notified) this.#listener = database.listen({ channel: this.#table.channel, onWake });
    this.#done = this.#run();
  }

  /** waitForFirstLoad is true once everything was loaded, false when that took longer. */
  async waitForFirstLoad(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, false);
    });
    const loaded = await Promise.race([this.#firstLoad.promise, late]);
    clearTimeout(timer);
    return loaded;
  }

  /** wake makes it look at once: this process has written. */
  wake(): void {
    this.#woken = true;
    this.#wakeLoop();
  }

  /** close stops following; the database stays open. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wakeLoop();
    await this.#listener?.close();
    await this.#done;
    this.#firstLoad.resolve(false);
  }

  async #run(): Promise<void> {
    let retryMs = MIN_RETRY_MS;
    while (!this.#closed) {
      try {
        const { lossCount } = this.#options.database;
        const horizon = await this.#load();
        retryMs = MIN_RETRY_MS;
        await this.#follow(horizon, lossCount);
        // A connection that breaks after every answer must not make us read everything without a breath.
        await this.#pause(MIN_RETRY_MS);
      } catch (thrown) {
        if (this.#closed) return;
        this.#noteFailure(toError(thrown));
        await this.#pause(retryMs);
        retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
      }
    }
  }

  async #load(): Promise<string> {
    await assertSchema(this.#options.database);
    const horizon = await this.#table.load();
    if (this.degraded) this.#options.logger.info(`${this.#table.what} loaded`);
    this.#failure = null;
    this.#loaded = true;
    this.#firstLoad.resolve(true);
    return horizon;
  }

  /** Returns when closed, after a break of a connection, or when so much has changed that loading is cheaper. */
  async #follow(from: string, lossCount: number): Promise<void> {
    const { database, pollMs = POLL_MS } = this.#options;
    const quiet = new Quiet(database);
    let horizon = from;
    while (!this.#closed && database.lossCount === lossCount) {
      await this.#sweep();
      if (!this.#woken) await this.#pause(pollMs);
      const woken = this.#woken;
      this.#woken = false;
      if (this.#closed) return;
      if (!woken && quiet.lasts()) continue;
      quiet.ask();
      const next = await this.#table.readChanges(horizon);
      if (next === null) return;
      horizon = next;
    }
  }

  async #sweep(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#sweptAtMs < SWEEP_EVERY_MS) return;
    this.#sweptAtMs = nowMs;
    await this.#table.sweep();
  }

  /** Once per kind of trouble, not once per try. */
  #noteFailure(error: Error): void {
    const code = error instanceof LbError ? error.code : 'internal_error';
    const level = code === this.#failure ? 'debug' : 'warn';
    this.#failure = code;
    const meanwhile = this.#loaded ? 'what was known last stays in force' : 'nothing is known of them yet';
    this.#options.logger[level](
      { err: error },
      `${this.#table.what} cannot be read; ${meanwhile}; trying again`,
    );
  }

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

/** Whether nobody can have written since the last question. */
class Quiet {
  readonly #database: Database;
  #activity: number | null = null;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(database: Database) {
    this.#database = database;
  }

  lasts(): boolean {
    const { activity } = this.#database;
    if (activity === null || activity !== this.#activity) return false;
    return performance.now() - this.#askedAtMs < ASK_ANYWAY_MS;
  }

  /** To be called right before the question. */
  ask(): void {
    this.#activity = this.#database.activity;
    this.#askedAtMs = performance.now();
  }
}
