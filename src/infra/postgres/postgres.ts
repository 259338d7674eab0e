/**
 * The door to PostgreSQL: a pool in which nothing waits without a deadline, and every failure is an LbError. The primary and
 * the command line use it, workers never do.
 */
import pg from 'pg';
import { LbError } from '../../contract/errors.ts';
import type { Logger } from '../logging/logger.ts';
import { withDeadline } from '../with-deadline.ts';
import { copyIn } from './copy-in.ts';
import { isConnectionLost, mapDatabaseError } from './postgres-errors.ts';
import { ListenConnection } from './postgres-listener.ts';

/** A row as pg gives it: int8 as text, json parsed, timestamptz as Date. Check before use. */
export type Row = Record<string, unknown>;

/** One statement inside a transaction. */
export type QueryFn = (text: string, params?: readonly unknown[]) => Promise<Row[]>;

type DatabaseTarget =
  | { kind: 'url'; url: string }
  /** A folder with the socket `.s.PGSQL.5432` of the embedded server, which has only one session to share. */
  | { kind: 'embedded'; socketFolder: string };

export interface DatabaseOptions {
  target: DatabaseTarget;
  logger: Logger;
  /** Bounds waiting for a free connection or opening one; default 2000. */
  connectMs?: number;
  /** Bounds one statement: at the server, and half a second later here. Default 5000. */
  statementMs?: number;
  /** Called after each statement that got no answer in time. */
  onStall?: () => void;
  /** Called by each use while the database is held. The use waits for it and then looks again. */
  onHeld?: () => Promise<void>;
}

/**
 * writing: counts as activity. reading, appending: does not. migrating: as writing, but also while the database is held, and the connection is
 * closed afterwards.
 */
type Use = 'writing' | 'appending' | 'reading' | 'migrating';

/** Connections to a real server; the embedded one has one session. */
const POOL_SIZE = 4;
const DEFAULT_CONNECT_MS = 2_000;
const DEFAULT_STATEMENT_MS = 5_000;
const ANSWER_GRACE_MS = 500;
const CLOSE_MS = 2_000;
const EMBEDDED_PORT = 5432;

/** The connections to one server, and those that are lent, with how to give each back. */
interface Server {
  pool: pg.Pool;
  listening: ListenConnection;
  lent: Map<pg.PoolClient, (destroy: boolean) => void>;
}

interface Listener {
  channel: string;
  onWake: (payload: string | null) => void;
  stop: () => void;
}

export class Database {
  /** true for the embedded server, whose one session all connections share: no LISTEN, and one transaction at a time. */
  readonly singleSession: boolean;
  readonly #options: DatabaseOptions;
  /** For one statement; also set at the server. */
  readonly #statementMs: number;
  /** Between two statements of what holds locks: others, who wait statementMs for one, must not fail because this process is suspended. */
  readonly #lockedIdleMs: number;
  /** The server's own timeout comes first: its message says more, and the connection survives. */
  readonly #answerMs: number;
  #server: Server;
  readonly #listeners = new Set<Listener>();
  /** Connections whose session has its statement_timeout. */
  readonly #prepared = new WeakSet<pg.PoolClient>();
  readonly #activityListeners = new Set<() => void>();
  /**
   * Raised when a connection breaks or cannot be made. The server may be another one then, so whoever builds on an earlier
   * answer compares the count.
   */
  lossCount = 0;
  #held: LbError | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#statementMs = options.statementMs ?? DEFAULT_STATEMENT_MS;
    this.#lockedIdleMs = this.#statementMs / 2;
    this.#answerMs = this.#statementMs + ANSWER_GRACE_MS;
    this.singleSession = options.target.kind === 'embedded';
    this.#server = this.#connectionsTo(options);
  }

  #connectionsTo(options: DatabaseOptions): Server {
    const config = clientConfig(options);
    const pool = new pg.Pool({
      ...config,
      max: this.singleSession ? 1 : POOL_SIZE,
      // The embedded server's one connection costs nothing while it is idle.
      idleTimeoutMillis: this.singleSession ? 0 : 30_000,
    });
    // Emitted for idle connections, e.g. when the server restarts. Without a listener it would end the process.
    pool.on('error', (error) => {
      this.lossCount++;
      options.logger.debug({ err: error }, 'an idle database connection broke');
    });
    return { pool, listening: new ListenConnection(config, options.logger), lent: new Map() };
  }

  /** onActivity calls back after each use that may have written what others follow; returns how to stop. */
  onActivity(listener: () => void): () => void {
    this.#activityListeners.add(listener);
    return () => this.#activityListeners.delete(listener);
  }

  /** noteActivity calls the listeners of onActivity. The embedded server calls it when another program may have written. */
  noteActivity(): void {
    for (const listener of this.#activityListeners) listener();
  }

  /** whenOpen resolves where statements can be sent, and first starts an embedded server, as they do. Throws what they throw while it is held. */
  async whenOpen(): Promise<void> {
    if (this.#held !== null) await this.#options.onHeld?.();
    if (this.#held === null) return;
    const { code, message } = this.#held;
    throw new LbError(code, `the database is not available: ${message}`, { cause: this.#held });
  }

  /** query runs one statement. Throws LbError: database_unanswered where it may have taken effect, else see mapDatabaseError. */
  query(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    return this.#lend('writing', this.#answerMs, (client, onSend) => {
      onSend();
      return run(client, text, params);
    });
  }

  /** read is query for a statement that changes nothing: it does not count as activity. */
  read(text: string, params: readonly unknown[] = []): Promise<Row[]> {
    return this.#lend('reading', this.#answerMs, (client) => run(client, text, params));
  }

  /** append is query for rows that nobody in this process follows: it does not count as activity. Nor does copy. Their rows may be sent again: neither throws database_unanswered. */
  append(text: string, params: readonly unknown[]): Promise<Row[]> {
    return this.#lend('appending', this.#answerMs, (client) => run(client, text, params));
  }

  /** copy sends rows to a `copy … from stdin`, in its text format: all are written, or none. Throws as append does. */
  copy(text: string, rows: string): Promise<void> {
    return this.#lend('appending', this.#answerMs, (client) => copyIn(client, text, rows));
  }

  /** readSnapshot runs several reads of one moment, each within its own deadline and all within timeoutMs. */
  readSnapshot<T>(timeoutMs: number, fn: (query: QueryFn) => Promise<T>): Promise<T> {
    const level = 'repeatable read read only';
    // It locks nothing, and between two of its reads others may be sent, each with its own deadline.
    const idleMs = 2 * this.#statementMs;
    return this.#lend('reading', timeoutMs, (client) => this.#inside(level, idleMs, client, fn));
  }

  /**
   * transaction runs several statements of which all take effect or none, with the deadlines of readSnapshot, and throws as query
   * does. Each sees what was committed before it began (read committed). An error that fn throws costs the connection.
   */
  transaction<T>(timeoutMs: number, fn: (query: QueryFn) => Promise<T>): Promise<T> {
    return this.#lend('writing', timeoutMs, (client, onSend) =>
      this.#inside('read committed', this.#lockedIdleMs, client, async (query) => {
        const result = await fn(query);
        // The commit is next.
        onSend();
        return result;
      }),
    );
  }

  async #inside<T>(
    level: string,
    idleMs: number,
    client: pg.PoolClient,
    fn: (query: QueryFn) => Promise<T>,
  ): Promise<T> {
    await run(client, `begin isolation level ${level}`);
    await this.#limitIdle(client, 'local', idleMs);
    const result = await fn((text, params) => this.#bounded(run(client, text, params), this.#answerMs));
    await run(client, 'commit');
    return result;
  }

  /** migrating lends a raw connection, even while the database is held, and closes it afterwards. For migrations.ts. */
  migrating<T>(timeoutMs: number, fn: (client: pg.PoolClient, query: QueryFn) => Promise<T>): Promise<T> {
    return this.#lend('migrating', timeoutMs, async (client) => {
      await this.#limitIdle(client, 'session', this.#lockedIdleMs);
      return fn(client, (text, params) => run(client, text, params));
    });
  }

  /** Makes the server end a connection that stays idle in a transaction for so long: this process is suspended. */
  async #limitIdle(client: pg.PoolClient, scope: 'local' | 'session', idleMs: number): Promise<void> {
    if (this.singleSession) return;
    await run(client, `set ${scope} idle_in_transaction_session_timeout = ${Math.ceil(idleMs)}`);
  }

  /** nowUs is the database's time in µs since the epoch: the clock of every version of limits. */
  async nowUs(): Promise<number> {
    const [row] = await this.read('select (extract(epoch from clock_timestamp()) * 1000000)::bigint as us');
    return Number(row?.us);
  }

  /** hold makes every use fail at once for this reason; null ends that. Called by the embedded server. */
  hold(reason: LbError | null): void {
    this.#held = reason;
    if (reason !== null) this.lossCount++;
  }

  /**
   * listen follows a NOTIFY channel on one more connection, which all listeners share and which is reopened for ever. The
   * embedded database has only one session, to which no NOTIFY ever arrives: there it does nothing, and the caller must poll.
   *
   * @param channel a plain lower-case identifier
   * @param onWake gets the payload of each notification, and null once listening has begun, or begun again
   * @returns how to stop
   */
  listen(channel: string, onWake: (payload: string | null) => void): () => void {
    if (this.singleSession) return () => undefined;
    const listener = { channel, onWake, stop: this.#server.listening.listen(channel, onWake) };
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      listener.stop();
    };
  }

  /**
   * moveTo makes this one use the connections of a database at another server, also for those who listen. The other one must not be
   * closed any more: it has the same connections. Returns how to close those of before, as close does.
   */
  moveTo(other: Database): () => Promise<void> {
    const former = this.#server;
    this.#server = other.#server;
    this.lossCount++;
    for (const listener of this.#listeners) {
      listener.stop();
      listener.stop = this.#server.listening.listen(listener.channel, listener.onWake);
    }
    return () => this.#closeAll(former);
  }

  /** close waits for statements under way, at most 2 s, then cuts them. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll(this.#server);
    return this.#closing;
  }

  async #closeAll({ pool, listening, lent }: Server): Promise<void> {
    await listening.close();
    const ended = pool.end();
    try {
      await withDeadline(ended, CLOSE_MS, 'the database connections');
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'database statements were cut at the end');
      for (const release of lent.values()) release(true);
      await withDeadline(ended, CLOSE_MS, 'the cut database connections');
    }
  }

  /** @param fn onSend: to be called before what takes effect is sent */
  async #lend<T>(
    use: Use,
    timeoutMs: number,
    fn: (client: pg.PoolClient, onSend: () => void) => Promise<T>,
  ): Promise<T> {
    const isMigrating = use === 'migrating';
    if (!isMigrating) await this.whenOpen();
    const server = this.#server;
    const client = await this.#connect(server);
    const release = this.#guard(client, server);
    let isSent = false;
    const onSend = (): void => {
      isSent = true;
    };
    try {
      const result = await this.#bounded(
        this.#prepare(client).then(() => fn(client, onSend)),
        timeoutMs,
      );
      release(isMigrating);
      return result;
    } catch (thrown) {
      const error = mapDatabaseError(thrown, 'a statement failed');
      const isLost = error.code === 'database_unavailable' && isConnectionLost(error);
      // A connection in a failed transaction, or with an answer still to come, cannot be used again.
      release(isLost || isMigrating || client.getTransactionStatus() !== 'I');
      // A statement that the server refused or gave up proves that the server is there.
      if (isLost) this.lossCount++;
      throw isLost && isSent ? new LbError('database_unanswered', error.message, { cause: error }) : error;
    } finally {
      if (use === 'writing' || isMigrating) this.noteActivity();
    }
  }

  /** Sets the time-out by a statement: PgBouncer refuses it as a start-up parameter. */
  async #prepare(client: pg.PoolClient): Promise<void> {
    if (this.singleSession || this.#prepared.has(client)) return;
    await client.query(`set statement_timeout = ${this.#statementMs}`);
    this.#prepared.add(client);
  }

  async #connect({ pool, lent }: Server): Promise<pg.PoolClient> {
    try {
      return await pool.connect();
    } catch (thrown) {
      // Waiting for others says nothing of the server: each of them tells by itself whether it has gone.
      if (lent.size >= pool.options.max) throw mapDatabaseError(thrown, 'all connections are in use');
      this.lossCount++;
      throw mapDatabaseError(thrown, 'cannot connect');
    }
  }

  /** Notes that the connection is lent. Its late 'error' events must not end the process. */
  #guard(client: pg.PoolClient, { lent }: Server): (destroy: boolean) => void {
    const ignore = (error: Error): void => {
      this.#options.logger.debug({ err: error }, 'a database connection broke in use');
    };
    client.on('error', ignore);
    const release = (destroy: boolean): void => {
      if (!lent.delete(client)) return;
      client.release(destroy);
      // A destroyed connection may still report its end.
      if (!destroy) client.off('error', ignore);
    };
    lent.set(client, release);
    return release;
  }

  #bounded<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
    return withDeadline(promise, timeoutMs, () => {
      this.#options.onStall?.();
      return new LbError('database_unavailable', `the database did not answer within ${timeoutMs} ms`);
    });
  }
}

async function run(client: pg.PoolClient, text: string, params: readonly unknown[] = []): Promise<Row[]> {
  return (await client.query<Row>(text, [...params])).rows;
}

function clientConfig({ target, connectMs = DEFAULT_CONNECT_MS }: DatabaseOptions): pg.ClientConfig {
  const common = { connectionTimeoutMillis: connectMs, application_name: 'sluice' };
  if (target.kind === 'url') return { ...common, connectionString: target.url, keepAlive: true };
  // All of it is given, so that no PG* variable of the environment counts.
  const session = { port: EMBEDDED_PORT, user: 'postgres', password: 'embedded', database: 'postgres' };
  return { ...common, ...session, host: target.socketFolder, ssl: false };
}
