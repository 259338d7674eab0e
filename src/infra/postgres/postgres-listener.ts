/**
 * One connection that LISTENs for everybody in this process. It is a hint and no more: whoever listens also polls, or can
 * do without, because a NOTIFY sent while the connection was down is lost. Every (re)connection therefore wakes all who
 * listen like a notification does.
 */
import pg from 'pg';
import { toError } from '../../contract/errors.ts';
import { withDeadline } from '../lifecycle.ts';
import type { Logger } from '../logging/logger.ts';

export interface ListenOptions {
  /** Channel name; a plain lower-case identifier. */
  channel: string;
  /** Called for each notification with its payload, and with null once listening has begun, or begun again. */
  onWake: (payload: string | null) => void;
}

interface NoticeOptions {
  config: pg.ClientConfig;
  logger: Logger;
  /** Pause before the first reconnection, doubled up to maxRetryMs; defaults 250 and 5000. */
  minRetryMs?: number;
  maxRetryMs?: number;
  /** A silent connection is asked this often whether it lives, and has as long to answer; default 10000. */
  pingMs?: number;
}

const CLOSE_MS = 1_000;

/** PostgresListener is the handle of one who listens. */
export class PostgresListener {
  readonly channel: string;
  readonly wake: ListenOptions['onWake'];
  readonly #connection: NoticeConnection;

  /** Made by NoticeConnection.listen only. */
  constructor(connection: NoticeConnection, { channel, onWake }: ListenOptions) {
    this.#connection = connection;
    this.channel = channel;
    this.wake = onWake;
  }

  get connected(): boolean {
    return this.#connection.connected;
  }

  /** close stops the calls; with the last listener the connection goes too. */
  close(): Promise<void> {
    this.#connection.leave(this);
    return Promise.resolve();
  }
}

/** NoticeConnection is opened with the first listener and reopened for ever; the Database has one. */
export class NoticeConnection {
  readonly #options: NoticeOptions;
  readonly #minRetryMs: number;
  readonly #maxRetryMs: number;
  readonly #pingMs: number;
  readonly #listeners = new Set<PostgresListener>();
  #done: Promise<void> | null = null;
  /** null: not connected. */
  #client: pg.Client | null = null;
  /** The statement before the next one: pg wants one at a time. */
  #lastStatement: Promise<unknown> = Promise.resolve();
  /** Ends whatever the loop waits for now. */
  #wakeLoop: () => void = () => undefined;

  constructor(options: NoticeOptions) {
    this.#options = options;
    this.#minRetryMs = options.minRetryMs ?? 250;
    this.#maxRetryMs = options.maxRetryMs ?? 5_000;
    this.#pingMs = options.pingMs ?? 10_000;
  }

  get connected(): boolean {
    return this.#client !== null;
  }

  listen(options: ListenOptions): PostgresListener {
    const listener = new PostgresListener(this, options);
    this.#listeners.add(listener);
    const client = this.#client;
    if (client !== null) this.#join(client, listener);
    else this.#done ??= this.#keepListening();
    return listener;
  }

  /** leave is PostgresListener.close; it does not wait for the connection to end. */
  leave(listener: PostgresListener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#wakeLoop();
  }

  /** close forgets all who listen and waits for the end of the connection; nobody may listen afterwards. */
  async close(): Promise<void> {
    this.#listeners.clear();
    this.#wakeLoop();
    await this.#done;
  }

  async #keepListening(): Promise<void> {
    let retryMs = this.#minRetryMs;
    while (this.#listeners.size > 0) {
      try {
        await this.#listenOnce(() => {
          retryMs = this.#minRetryMs;
        });
      } catch (thrown) {
        this.#options.logger.debug({ err: toError(thrown) }, 'the LISTEN connection broke; polling goes on');
      }
      await this.#pause(retryMs);
      retryMs = Math.min(retryMs * 2, this.#maxRetryMs);
    }
    this.#done = null;
  }

  /** Throws when the connection has ended, which close() brings about too. */
  async #listenOnce(onConnected: () => void): Promise<void> {
    const client = new pg.Client({ ...this.#options.config, keepAlive: true });
    const ended = new Promise<never>((_, reject) => {
      client.on('error', reject);
      client.on('end', () => reject(new Error('the server closed the connection')));
      this.#wakeLoop = () => reject(new Error('closing'));
    });
    // The race below may have been decided by something else already.
    ended.catch(() => undefined);
    const pinger = setInterval(() => this.#ping(client), this.#pingMs);
    try {
      client.on('notification', ({ channel, payload = '' }) => this.#tell(channel, payload));
      await Promise.race([this.#subscribe(client), ended]);
      onConnected();
      for (const listener of this.#listeners) listener.wake(null);
      await ended;
    } finally {
      this.#client = null;
      clearInterval(pinger);
      await withDeadline(client.end(), CLOSE_MS, 'ending LISTEN').catch((error: unknown) => {
        this.#options.logger.debug({ err: toError(error) }, 'the LISTEN connection did not end in time');
      });
    }
  }

  async #subscribe(client: pg.Client): Promise<void> {
    await client.connect();
    this.#lastStatement = Promise.resolve();
    // From here on those who come join by themselves.
    this.#client = client;
    for (const { channel } of this.#listeners) await this.#run(client, listenTo(channel));
  }

  #run(client: pg.Client, text: string): Promise<unknown> {
    const done = this.#lastStatement.then(() => client.query(text));
    this.#lastStatement = done.catch(() => undefined);
    return done;
  }

  /** Somebody comes while the connection stands. */
  #join(client: pg.Client, listener: PostgresListener): void {
    withDeadline(this.#run(client, listenTo(listener.channel)), this.#pingMs, 'a LISTEN').then(
      () => {
        if (this.#listeners.has(listener)) listener.wake(null);
      },
      (error: unknown) => client.emit('error', toError(error)),
    );
  }

  #tell(channel: string, payload: string): void {
    for (const listener of this.#listeners) if (listener.channel === channel) listener.wake(payload);
  }

  #ping(client: pg.Client): void {
    if (this.#client === null) return;
    withDeadline(this.#run(client, 'select 1'), this.#pingMs, 'the LISTEN connection').catch(
      (error: unknown) => {
        client.emit('error', toError(error));
      },
    );
  }

  #pause(ms: number): Promise<void> {
    if (this.#listeners.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeLoop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function listenTo(channel: string): string {
  return `listen ${pg.escapeIdentifier(channel)}`;
}
