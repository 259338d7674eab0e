/**
 * The primary's picture of all clients, kept true to the database and passed on to workers.
 *
 * States, kept by #run: *loading* (nothing is known of this connection's past: check the schema, read everything),
 * *following* (asks for changes at every wake-up: a NOTIFY, a write of this process, or pollMs), *waiting* (the database
 * is away: what was known last stays in force, `degraded` says so; loading is tried again after a pause). Any failure
 * leads to waiting, whose end is always loading, as does a connection that broke unnoticed: a server that comes back may
 * be another one, with another past.
 *
 * The embedded database is asked only when somebody may have written: each poll costs its thread and this one 2 ms of CPU.
 */
import type { ClientRecord, ClientTombstone } from '../contract/clients.ts';
import { type ErrorCode, LbError, toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logger.ts';
import { assertSchema } from '../infra/migrations.ts';
import type { Database } from '../infra/postgres.ts';
import type { PostgresListener } from '../infra/postgres-listener.ts';
import { type ClientsMessage, TOMBSTONE_DAYS } from './client-directory.ts';
import { CLIENTS_CHANNEL, type ClientRepository } from './client-repository.ts';

export interface ClientFeedOptions {
  database: Database;
  repository: ClientRepository;
  logger: Logger;
  /** Default 500. */
  pollMs?: number;
  /** false: the poll alone, for tests of it. */
  notified?: boolean;
}

/** Records and tombstones of one IPC message. */
export const PART_RECORDS = 5_000;
const POLL_MS = 500;
/** A database in which nothing happens is asked all the same so often: one that hangs shows it by not answering. */
const ASK_ANYWAY_MS = 5_000;
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;
const SWEEP_EVERY_MS = 3_600_000;

/** What is known; an id is a client or a tombstone, never both. */
interface Picture {
  clients: Map<string, ClientRecord>;
  tombstones: Map<string, number>;
}

export class ClientFeed {
  readonly #options: ClientFeedOptions;
  readonly #pollMs: number;
  readonly #listeners = new Set<(message: ClientsMessage) => void>();
  readonly #firstLoad = Promise.withResolvers<boolean>();
  #listener: PostgresListener | null = null;
  #picture: Picture = { clients: new Map(), tombstones: new Map() };
  #version = 0;
  #loaded = false;
  /** Why the database cannot be read now; null: it can. */
  #failure: ErrorCode | null = null;
  #sweptAtMs = Number.NEGATIVE_INFINITY;
  #done: Promise<void> | null = null;
  #closed = false;
  /** A wake-up that came while the loop was busy. */
  #woken = false;
  #wakeLoop: () => void = () => undefined;

  constructor(options: ClientFeedOptions) {
    this.#options = options;
    this.#pollMs = options.pollMs ?? POLL_MS;
    options.repository.onWrite(() => this.noteWrite());
  }

  /** true until the first load and while the database is away or does not fit: for /readyz. */
  get degraded(): boolean {
    return !this.#loaded || this.#failure !== null;
  }

  /** Raised with every change that is passed on; the version of the messages. */
  get version(): number {
    return this.#version;
  }

  get clientCount(): number {
    return this.#picture.clients.size;
  }

  /** start begins to load and follow, for ever. */
  start(): void {
    const onWake = (): void => this.noteWrite();
    if (this.#options.notified ?? true) {
      this.#listener = this.#options.database.listen({ channel: CLIENTS_CHANNEL, onWake });
    }
    this.#done ??= this.#run();
  }

  /** waitForFirstLoad is true once everything was loaded, false when that took longer; serve's ready line waits for it. */
  async waitForFirstLoad(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, false);
    });
    const loaded = await Promise.race([this.#firstLoad.promise, late]);
    clearTimeout(timer);
    return loaded;
  }

  /** onChange hands every further change to a listener, as it happens, in parts; returns how to stop. Synchronous. */
  onChange(listener: (message: ClientsMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** snapshot is everything known, in parts, for a worker that has just started; onChange continues from it. */
  snapshot(): ClientsMessage[] {
    const tombstones = [...this.#picture.tombstones].map(([clientId, versionUs]) => ({
      clientId,
      versionUs,
    }));
    return partsOf([...this.#picture.clients.values()], tombstones, { version: this.#version, full: true });
  }

  /** noteWrite makes the feed look at once; the repository's writes call it by themselves. */
  noteWrite(): void {
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
    const fresh: Picture = { clients: new Map(), tombstones: new Map() };
    const horizon = await this.#options.repository.loadAll((clients, tombstones) => {
      for (const client of clients) fresh.clients.set(client.clientId, client);
      for (const { clientId, versionUs } of tombstones) fresh.tombstones.set(clientId, versionUs);
    });
    this.#replace(fresh);
    if (this.degraded) this.#options.logger.info({ clients: fresh.clients.size }, 'clients loaded');
    this.#failure = null;
    this.#loaded = true;
    this.#firstLoad.resolve(true);
    return horizon;
  }

  /** Returns when closed, after a break of a connection, or when so much has changed that loading is cheaper. */
  async #follow(from: string, lossCount: number): Promise<void> {
    const { database } = this.#options;
    const quiet = new Quiet(database);
    let horizon = from;
    while (!this.#closed && database.lossCount === lossCount) {
      await this.#sweep();
      if (!this.#woken) await this.#pause(this.#pollMs);
      const woken = this.#woken;
      this.#woken = false;
      if (this.#closed) return;
      if (!woken && quiet.lasts()) continue;
      quiet.ask();
      const changes = await this.#options.repository.changesSince(horizon);
      if (changes === null) return;
      horizon = changes.horizon;
      this.#merge(changes.clients, changes.tombstones);
    }
  }

  /** Removes what no bucket can need any more, in the database and here. */
  async #sweep(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#sweptAtMs < SWEEP_EVERY_MS) return;
    this.#sweptAtMs = nowMs;
    const beforeUs = await this.#options.repository.dropTombstones(TOMBSTONE_DAYS);
    for (const [clientId, versionUs] of this.#picture.tombstones) {
      if (versionUs < beforeUs) this.#picture.tombstones.delete(clientId);
    }
  }

  #merge(clients: readonly ClientRecord[], tombstones: readonly ClientTombstone[]): void {
    const upserts = clients.filter((client) => client.versionUs > versionIn(this.#picture, client.clientId));
    const burials = tombstones.filter((each) => each.versionUs > versionIn(this.#picture, each.clientId));
    if (upserts.length === 0 && burials.length === 0) return;
    for (const client of upserts) {
      this.#picture.clients.set(client.clientId, client);
      this.#picture.tombstones.delete(client.clientId);
    }
    for (const { clientId, versionUs } of burials) {
      this.#picture.clients.delete(clientId);
      this.#picture.tombstones.set(clientId, versionUs);
    }
    this.#version++;
    this.#emit(partsOf(upserts, burials, { version: this.#version, full: false }));
  }

  /**
   * A full load mostly finds what was known and little more: a delta will do. Where versions have gone back or clients
   * vanished without a tombstone (a restored backup, another server) only a snapshot makes workers forget.
   */
  #replace(fresh: Picture): void {
    if (this.#loaded && isContinued(this.#picture, fresh)) {
      const tombstones = [...fresh.tombstones].map(([clientId, versionUs]) => ({ clientId, versionUs }));
      this.#merge([...fresh.clients.values()], tombstones);
      return;
    }
    this.#picture = fresh;
    this.#version++;
    this.#emit(this.snapshot());
  }

  #emit(parts: readonly ClientsMessage[]): void {
    for (const part of parts) for (const listener of this.#listeners) listener(part);
  }

  /** Once per kind of trouble, not once per try. */
  #noteFailure(error: Error): void {
    const code = error instanceof LbError ? error.code : 'internal_error';
    const level = code === this.#failure ? 'debug' : 'warn';
    this.#failure = code;
    const meanwhile = this.#loaded
      ? 'the last known limits stay in force'
      : 'the policies apply to everybody';
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
    const { activity } = this.#database;
    // The question is a use of the database itself.
    this.#activity = activity === null ? null : activity + 1;
    this.#askedAtMs = performance.now();
  }
}

function versionIn(picture: Picture, clientId: string): number {
  return picture.clients.get(clientId)?.versionUs ?? picture.tombstones.get(clientId) ?? 0;
}

function isContinued(known: Picture, fresh: Picture): boolean {
  for (const [clientId, { versionUs }] of known.clients) {
    if (versionIn(fresh, clientId) < versionUs) return false;
  }
  for (const [clientId, versionUs] of known.tombstones) {
    const now = versionIn(fresh, clientId);
    // Swept by another machine: it is gone from the table and matters no more.
    if (now !== 0 && now < versionUs) return false;
  }
  return true;
}

function partsOf(
  upserts: readonly ClientRecord[],
  tombstones: readonly ClientTombstone[],
  { version, full }: { version: number; full: boolean },
): ClientsMessage[] {
  const clientParts = Math.ceil(upserts.length / PART_RECORDS);
  const count = Math.max(1, clientParts + Math.ceil(tombstones.length / PART_RECORDS));
  return Array.from({ length: count }, (_, index) => {
    const from = index * PART_RECORDS;
    const buriedFrom = (index - clientParts) * PART_RECORDS;
    return {
      type: 'clients' as const,
      version,
      full,
      first: index === 0,
      last: index === count - 1,
      upserts: upserts.slice(from, from + PART_RECORDS),
      tombstones: buriedFrom < 0 ? [] : tombstones.slice(buriedFrom, buriedFrom + PART_RECORDS),
    };
  });
}
