/**
 * Keeps a picture of the database true to it, and decides when to read.
 *
 * States, kept by #run:
 * - loading: nothing is known of this connection's past. Check the schema, read everything; leads to following.
 * - following: read changes at every wake-up: a NOTIFY, a write of this process, or the poll. A broken connection leads to
 *   loading, because a server that comes back may be another one, with another past; so does a schema that does not fit.
 * - waiting: the last read failed. What was known last stays in force, `degraded` says so. After a pause the same is tried
 *   again: changes, where only a statement failed, else loading.
 */
import { type ErrorCode, LbError, toError } from '../contract/errors.ts';
import { atMost } from '../infra/lifecycle.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { assertSchema } from '../infra/postgres/migrations.ts';
import type { Database } from '../infra/postgres/postgres.ts';
import type { PostgresListener } from '../infra/postgres/postgres-listener.ts';

/** Picture is what is kept true. Every method may throw what Database throws. */
export interface Picture {
  /** Reads everything and returns the look to go on from. */
  load(): Promise<string>;
  /** Reads what has changed since a look, by Database.read and readSnapshot alone, and returns the next look. */
  readChanges(look: string): Promise<string>;
  /** Removes from the database what nobody needs any more; called once an hour. */
  sweep(): Promise<void>;
}

export interface ChangeLoopOptions {
  database: Database;
  logger: Logger;
  /** Default 500; 5,000 with the embedded database, of whose writers this process is told. */
  pollMs?: number;
  /** false: without NOTIFY, for tests of the poll. */
  notified?: boolean;
}

const POLL_MS = 500;
/** A poll costs the embedded database's thread and this one 2 ms of CPU, and finds out only that it still answers. */
const EMBEDDED_POLL_MS = 5_000;
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;
const SWEEP_EVERY_MS = 3_600_000;

export class ChangeLoop {
  readonly #picture: Picture;
  readonly #channels: readonly string[];
  readonly #options: ChangeLoopOptions;
  readonly #pollMs: number;
  readonly #firstLoad = Promise.withResolvers<void>();
  #stopListening: (() => void)[] = [];
  /** What the picture is true to; null: nothing was read, or it must be read again. */
  #look: string | null = null;
  /** The database's count of broken connections when everything was read. */
  #lossCount = 0;
  #loaded = false;
  /** Why the database cannot be read now; null: it can. */
  #failure: ErrorCode | null = null;
  #sweptAtMs = Number.NEGATIVE_INFINITY;
  #done: Promise<void> | null = null;
  #closed = false;
  /** A wake-up that came while the loop was busy. */
  #woken = false;
  #wakeLoop: () => void = () => undefined;
  /** Waiting for a read that begins after they came. */
  #waiters: (() => void)[] = [];

  /** @param channels NOTIFY channels of the picture's changes */
  constructor(picture: Picture, channels: readonly string[], options: ChangeLoopOptions) {
    this.#picture = picture;
    this.#channels = channels;
    this.#options = options;
    this.#pollMs = options.pollMs ?? (options.database.singleSession ? EMBEDDED_POLL_MS : POLL_MS);
  }

  /** true until the first load and while the database is away or does not fit. */
  get degraded(): boolean {
    return !this.#loaded || this.#failure !== null;
  }

  /** start begins to load and follow, until close; a second call does nothing. */
  start(): void {
    if (this.#done !== null || this.#closed) return;
    const { database, notified = true } = this.#options;
    const wake = (): void => this.#wake();
    this.#stopListening = [database.onActivity(wake)];
    for (const channel of notified ? this.#channels : []) {
      const listener: PostgresListener | null = database.listen({ channel, onWake: wake });
      if (listener !== null) this.#stopListening.push(() => listener.close());
    }
    this.#done = this.#run();
  }

  /** assumeEmpty is for a database that was never used: nothing is there to be loaded until start. */
  assumeEmpty(): void {
    this.#loaded = true;
    this.#firstLoad.resolve();
  }

  /** waitForFirstLoad is true once everything was loaded, false when that took longer. */
  async waitForFirstLoad(timeoutMs: number): Promise<boolean> {
    return (await atMost(this.#firstLoad.promise, timeoutMs)) && this.#loaded;
  }

  /** caughtUp resolves once everything that was committed before the call was read, or with close. It may never resolve. */
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
    this.#firstLoad.resolve();
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  #wake(): void {
    this.#woken = true;
    this.#wakeLoop();
  }

  async #run(): Promise<void> {
    const { database } = this.#options;
    let retryMs = MIN_RETRY_MS;
    while (!this.#closed) {
      try {
        if (this.#look === null || database.lossCount !== this.#lossCount) await this.#load();
        await this.#sweep();
        if (!this.#woken) await this.#pause(this.#pollMs);
        if (this.#closed) return;
        await this.#readChanges();
        retryMs = MIN_RETRY_MS;
      } catch (thrown) {
        if (this.#closed) return;
        this.#noteFailure(toError(thrown));
        await this.#pause(retryMs);
        retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
      }
    }
  }

  async #load(): Promise<void> {
    // A connection that breaks after every answer must not make us read everything without a breath.
    if (this.#look !== null) await this.#pause(MIN_RETRY_MS);
    this.#look = null;
    this.#lossCount = this.#options.database.lossCount;
    const waiters = this.#takeWaiters();
    await assertSchema(this.#options.database);
    this.#look = await this.#picture.load();
    if (this.degraded) this.#options.logger.info('clients loaded');
    this.#loaded = true;
    this.#succeed(waiters);
    this.#firstLoad.resolve();
  }

  async #readChanges(): Promise<void> {
    if (this.#look === null || this.#options.database.lossCount !== this.#lossCount) return;
    this.#woken = false;
    const waiters = this.#takeWaiters();
    this.#look = await this.#picture.readChanges(this.#look);
    this.#succeed(waiters);
  }

  /** Whoever comes later waits for the next read. */
  #takeWaiters(): (() => void)[] {
    return this.#waiters.splice(0);
  }

  #succeed(waiters: (() => void)[]): void {
    this.#failure = null;
    for (const resolve of waiters) resolve();
  }

  async #sweep(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#sweptAtMs < SWEEP_EVERY_MS) return;
    this.#sweptAtMs = nowMs;
    await this.#picture.sweep();
  }

  /** Logged once per kind of trouble, not once per try. */
  #noteFailure(error: Error): void {
    const code = error instanceof LbError ? error.code : 'internal_error';
    if (code !== 'database_unavailable') this.#look = null;
    const level = code === this.#failure ? 'debug' : 'warn';
    this.#failure = code;
    const meanwhile = this.#loaded ? 'the last known ones stay in force' : 'nobody is known yet';
    this.#options.logger[level]({ err: error }, `clients cannot be read; ${meanwhile}; trying again`);
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
