/**
 * The database of an installation without one: PGlite in a thread of the primary, its files and its lock in one folder.
 *
 * A commit is written to the file before it is acknowledged, so a killed process loses nothing. Nothing is flushed to the disk
 * (PGlite runs with fsync off): after a loss of power the last seconds may be missing, or the data may be damaged.
 *
 * States. The database is held in all of them but serving:
 * - unused: opened lazily, and there is no data. Nothing was touched. #leaveUnused leads to starting.
 * - starting: #start makes the data where there is none, starts the thread and migrates. Leads to serving, or to broken.
 * - serving: statements pass. Leads to broken when the thread ends, by itself or because statements stall.
 * - broken: after a pause #run leads to starting.
 * - lent: by lend(), to another process that takes this one's place. takeBack() leads to where it came from: unused, or starting.
 * - closed: by close(), for good.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect, promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { LbError, toError } from '../../contract/errors.ts';
import { isAbsent } from '../folders.ts';
import type { Logger } from '../logging/logger.ts';
import { codeFile, entryFile } from '../product-files.ts';
import { atMost, withDeadline } from '../with-deadline.ts';
import type { ThreadStart } from './embedded-postgres-thread.ts';
import { lockFolder } from './folder-lock.ts';
import { migrate } from './migrations.ts';
import { Database } from './postgres.ts';

export interface EmbeddedPostgresOptions {
  /** Made (0700) where it is missing. */
  folder: string;
  /** What the lock tells others, e.g. "sluice serve". */
  purpose: string;
  logger: Logger;
  /** Default true: pending migrations run before the first statement. */
  migrated?: boolean;
  /** true: where there is no data yet, nothing is made or started before the first statement. Default false. */
  lazy?: boolean;
  /** Data to begin with, if it exists; default what scripts/prepare-data.ts has made. Without it new data takes 3 s longer. */
  preparedData?: string;
}

const THREAD_ENTRY = entryFile('infra/postgres/embedded-postgres-thread');
/** In dist/ only. */
const PREPARED_DATA = codeFile('embedded-data');

/** A file of prepared data that stands for an empty folder, because shipping dist/ may lose those. It is not copied. */
export const PLACEHOLDER = 'sluice-empty-folder';

const STARTING = new LbError('database_starting', 'the embedded database is starting');

/** Making a cluster takes 3 s on a fast machine, and minutes on a busy one: a start that is cut off begins again from nothing. */
const START_MS = 600_000;
/** The statement that starts the server waits this long for it: less than a call of the admin port may take. */
const FIRST_USE_MS = 10_000;
const CLOSE_MS = 5_000;
const MIN_RETRY_MS = 250;
/** A start that fails, as on a full disk, takes seconds of CPU. */
const MAX_RETRY_MS = 60_000;
/** Longer than two statements' deadlines. */
const STALL_WINDOW_MS = 15_000;
/** The thread's JavaScript makes little that lasts: its database is in WASM. */
const THREAD_LIMITS = { maxYoungGenerationSizeMb: 4 };
const DRAFT_PREFIX = 'data.new-';
const SOCKET_NAME = '.s.PGSQL.5432';
/** 108 with the final zero on Linux, 104 on macOS. */
const SOCKET_PATH_BYTES = 103;

export class EmbeddedPostgres {
  /**
   * For everybody who needs the database. While it is held statements fail at once: with database_starting, or with
   * database_unavailable where the last start failed. If it was opened lazily, they first wait for the first start.
   */
  readonly database: Database;
  readonly #options: EmbeddedPostgresOptions;
  readonly #logger: Logger;
  readonly #folder: string;
  readonly #dataFolder: string;
  readonly #socketFolder: string;
  readonly #firstStart = Promise.withResolvers<void>();
  /** Resolves with the first start; rejects when that failed (others follow) or close came first. Need not be observed. */
  readonly ready = this.#firstStart.promise;
  readonly #firstStartEnded = this.ready.catch(() => undefined);
  /** Ends pauses and the process that makes data. */
  #closing = new AbortController();
  /** Gives the folder back; null: unused. */
  #unlock: (() => void) | null = null;
  #loop: Promise<void> = Promise.resolve();
  #thread: Worker | null = null;
  #lastStallMs = Number.NEGATIVE_INFINITY;
  #serving = false;
  #lent = false;
  #closed = false;

  /**
   * Locks the folder and starts the server in the background; await `ready` to wait for it. Where it is lazy and there is no
   * data, it touches nothing before the first statement. Throws LbError folder_locked, naming the holder, when the folder is in
   * use, or cannot be read or written.
   */
  constructor(options: EmbeddedPostgresOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#folder = resolve(options.folder);
    this.#dataFolder = join(this.#folder, 'data');
    this.#socketFolder = socketFolderOf(this.#folder);
    this.database = new Database({
      target: { kind: 'embedded', socketFolder: this.#socketFolder },
      logger: options.logger,
      onStall: () => this.#onStall(),
      onHeld: () => this.#awaken(),
    });
    this.database.hold(STARTING);
    // A folder that cannot be looked at may hold clients that are blocked.
    if (options.lazy !== true || !isAbsent(this.#dataFolder)) this.#leaveUnused();
  }

  /** As Storage.isUnused. */
  get isUnused(): boolean {
    return this.#unlock === null;
  }

  /** As Storage.nowUs: its clock is this machine's. */
  async nowUs(): Promise<number> {
    return Date.now() * 1000;
  }

  /** close shuts the server down cleanly, at most about 10 s, and gives the folder back. Safe to call twice. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    this.#firstStart.reject(this.#startError(null));
    await this.database.close();
    await this.#stopThread();
    await this.#loop;
    if (this.#unlock === null) return;
    rmSync(this.#socketFolder, { recursive: true, force: true });
    this.#unlock();
  }

  /** As Storage.lend. */
  async lend(): Promise<void> {
    this.#lent = true;
    this.#closing.abort();
    await this.#stopThread();
    await this.#loop;
    this.database.hold(STARTING);
    if (this.#unlock === null) return;
    rmSync(this.#socketFolder, { recursive: true, force: true });
    this.#unlock();
  }

  /** As Storage.takeBack. */
  takeBack(): void {
    if (!this.#lent) return;
    const wasUnused = this.#unlock === null;
    this.#unlock = null;
    this.#closing = new AbortController();
    this.#lent = false;
    if (!wasUnused) this.#leaveUnused();
  }

  /** killThread ends the thread as a crash would; for one that answers nobody, and for tests. */
  killThread(): void {
    void this.#thread?.terminate();
  }

  /** Called by each statement while the database is held. Resolves when the first start has ended, or after FIRST_USE_MS. */
  async #awaken(): Promise<void> {
    if (this.#options.lazy !== true || this.#isEnding) return;
    this.#leaveUnused();
    await atMost(this.#firstStartEnded, FIRST_USE_MS);
  }

  /** From unused to starting. Throws LbError folder_locked; the next statement tries again. */
  #leaveUnused(): void {
    if (this.#unlock !== null) return;
    this.#unlock = lockFolder(this.#folder, this.#options.purpose);
    this.#loop = this.#run();
  }

  get #isEnding(): boolean {
    return this.#closed || this.#lent;
  }

  async #run(): Promise<void> {
    let retryMs = MIN_RETRY_MS;
    let lastReason = '';
    while (!this.#isEnding) {
      try {
        const server = await this.#start();
        retryMs = MIN_RETRY_MS;
        lastReason = '';
        this.#firstStart.resolve();
        const reason = await server.ended;
        this.database.hold(this.#closed ? this.#startError(null) : STARTING);
        if (!this.#isEnding)
          this.#logger.error({ err: reason }, 'the embedded database ended; starting it again');
      } catch (thrown) {
        const error = this.#startError(thrown);
        this.#firstStart.reject(error);
        this.database.hold(error);
        const level = error.message === lastReason ? 'debug' : 'error';
        if (!this.#isEnding)
          this.#logger[level]({ err: error }, 'the embedded database did not start; trying again');
        lastReason = error.message;
      }
      this.#serving = false;
      await sleep(retryMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
    }
  }

  #startError(thrown: unknown): LbError {
    if (this.#closed) return new LbError('database_unavailable', 'the embedded database was closed');
    if (this.#lent) return STARTING;
    if (thrown instanceof LbError) return thrown;
    const { message } = toError(thrown);
    return new LbError('database_unavailable', `the embedded database does not start: ${message}`, {
      cause: thrown,
    });
  }

  /** From starting to serving. `ended` is fulfilled with the reason when the thread is gone. */
  async #start(): Promise<{ ended: Promise<Error> }> {
    this.#lastStallMs = Number.NEGATIVE_INFINITY;
    await this.#makeData();
    rmSync(this.#socketFolder, { recursive: true, force: true });
    mkdirSync(this.#socketFolder, { mode: 0o700 });
    if (this.#isEnding) throw this.#startError(null);
    const workerData: ThreadStart = {
      dataFolder: this.#dataFolder,
      socketPath: join(this.#socketFolder, SOCKET_NAME),
    };
    const thread = new Worker(THREAD_ENTRY, { workerData, resourceLimits: THREAD_LIMITS });
    this.#thread = thread;
    // After its first word, that it is ready: whoever connects may write.
    thread.on('message', () => this.database.noteActivity());
    const ended = endOf(thread);
    try {
      const failed = ended.then((reason) => Promise.reject(reason));
      await withDeadline(Promise.race([once(thread, 'message'), failed]), START_MS, 'starting PGlite');
      if (this.#options.migrated ?? true) {
        await migrate(this.database, 'up', { logger: this.#logger });
      }
      if (this.#isEnding) throw this.#startError(null);
    } catch (thrown) {
      await thread.terminate();
      // PGlite itself does not say so.
      if (statfsSync(this.#folder).bavail === 0) throw new Error('ENOSPC: no space left');
      throw thrown instanceof Error ? thrown : await ended;
    }
    this.#serving = true;
    this.database.hold(null);
    return { ended };
  }

  /**
   * Data is made under another name and renamed when complete, so that a process killed half-way leaves nothing that looks like
   * a database. Each draft has a name of its own: the maker of an earlier one may still be writing for some seconds.
   */
  async #makeData(): Promise<void> {
    if (!isAbsent(this.#dataFolder)) return;
    this.#logger.info({ folder: this.#folder }, 'making the embedded database');
    const draft = mkdtempSync(join(this.#folder, DRAFT_PREFIX));
    const { preparedData = PREPARED_DATA } = this.#options;
    try {
      if (!isAbsent(preparedData)) await copyPrivately(preparedData, draft);
      else
        await promisify(execFile)(process.execPath, [THREAD_ENTRY, draft], {
          signal: this.#closing.signal,
          timeout: START_MS,
          killSignal: 'SIGKILL',
        });
      renameSync(draft, this.#dataFolder);
    } catch (cause) {
      const { message, stderr, killed } = toError(cause) as Error & { stderr?: string; killed?: boolean };
      // The draft's name would make each try a reason of its own.
      const said = (stderr || message).replaceAll(draft, this.#dataFolder);
      const reason = killed === true ? `not within ${START_MS / 60_000} minutes` : said;
      throw new Error(`its data cannot be made: ${reason}`, { cause });
    } finally {
      for (const name of readdirSync(this.#folder).filter((each) => each.startsWith(DRAFT_PREFIX)))
        await rm(join(this.#folder, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    }
  }

  /** A thread whose socket server lost count answers nobody, yet lives: two stalls close together end it. */
  #onStall(): void {
    const nowMs = performance.now();
    const repeated = nowMs - this.#lastStallMs < STALL_WINDOW_MS;
    this.#lastStallMs = nowMs;
    if (!repeated || this.#closed) return;
    this.#logger.error('the embedded database does not answer; ending its thread');
    this.killThread();
  }

  async #stopThread(): Promise<void> {
    const thread = this.#thread;
    // A thread that is still starting holds nothing that was acknowledged, and is not worth waiting for.
    if (thread !== null && this.#serving) {
      const exited = once(thread, 'exit');
      thread.postMessage('close');
      await withDeadline(exited, CLOSE_MS, 'the shutdown of PGlite').catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'the embedded database was cut; it recovers at its next start');
      });
    }
    await thread?.terminate();
  }
}

/** Only the owner may read or write the copy, whatever the modes of the original: it may be read-only. */
async function copyPrivately(folder: string, to: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const copy = join(to, relative(folder, path));
    if (entry.isDirectory()) await mkdir(copy, { mode: 0o700 });
    else if (entry.name !== PLACEHOLDER) await copyFile(path, copy).then(() => chmod(copy, 0o600));
  }
}

/** Inside the data's folder where the path is short enough for a socket (sun_path, unix(7)), else in the temporary one. */
function socketFolderOf(folder: string): string {
  const inside = join(folder, 'socket');
  const fits = Buffer.byteLength(join(inside, SOCKET_NAME)) <= SOCKET_PATH_BYTES;
  return fits ? inside : join(tmpdir(), `sluice-pg-${randomUUID()}`);
}

/** Never rejects: a thread's error event is the reason, its exit the end. */
function endOf(thread: Worker): Promise<Error> {
  return new Promise((done) => {
    let reason: Error | null = null;
    thread.on('error', (error: unknown) => {
      // PGlite's file system throws objects that are no errors.
      reason = error instanceof Error ? error : new Error(inspect(error));
    });
    thread.on('exit', (code) => done(reason ?? new Error(`the thread of PGlite ended with code ${code}`)));
  });
}
