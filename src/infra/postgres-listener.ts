/**
 * One connection that LISTENs. It is a hint and no more: whoever listens also polls, because a NOTIFY sent while the
 * connection was down is lost. Every (re)connection therefore wakes the listener's owner like a notification does.
 */
import pg from 'pg';
import { toError } from '../contract/errors.ts';
import { withDeadline } from './lifecycle.ts';
import type { Logger } from './logger.ts';

export interface ListenOptions {
  config: pg.ClientConfig;
  /** Channel name; a plain lower-case identifier. */
  channel: string;
  /** Called for each notification and after each (re)connection. */
  onWake: () => void;
  logger: Logger;
  /** Pause before the first reconnection, doubled up to maxRetryMs; defaults 250 and 5000. */
  minRetryMs?: number;
  maxRetryMs?: number;
  /** A silent connection is asked this often whether it lives, and has as long to answer; default 10000. */
  pingMs?: number;
}

const CLOSE_MS = 1_000;

export class PostgresListener {
  readonly #options: ListenOptions;
  readonly #minRetryMs: number;
  readonly #maxRetryMs: number;
  readonly #pingMs: number;
  readonly #done: Promise<void>;
  #connected = false;
  #closed = false;
  /** Ends whatever the loop waits for now. */
  #wakeLoop: () => void = () => undefined;

  constructor(options: ListenOptions) {
    this.#options = options;
    this.#minRetryMs = options.minRetryMs ?? 250;
    this.#maxRetryMs = options.maxRetryMs ?? 5_000;
    this.#pingMs = options.pingMs ?? 10_000;
    this.#done = this.#keepListening();
  }

  get connected(): boolean {
    return this.#connected;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wakeLoop();
    await this.#done;
  }

  async #keepListening(): Promise<void> {
    let retryMs = this.#minRetryMs;
    while (!this.#closed) {
      try {
        await this.#listenOnce(() => {
          retryMs = this.#minRetryMs;
        });
      } catch (thrown) {
        this.#options.logger.debug({ err: toError(thrown) }, 'the LISTEN connection broke; polling goes on');
      }
      this.#connected = false;
      await this.#pause(retryMs);
      retryMs = Math.min(retryMs * 2, this.#maxRetryMs);
    }
  }

  /** Returns or throws when the connection has ended, which close() brings about too. */
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
      client.on('notification', this.#options.onWake);
      await Promise.race([this.#subscribe(client), ended]);
      onConnected();
      this.#connected = true;
      this.#options.onWake();
      await ended;
    } finally {
      clearInterval(pinger);
      await withDeadline(client.end(), CLOSE_MS, 'ending LISTEN').catch((error: unknown) => {
        this.#options.logger.debug({ err: toError(error) }, 'the LISTEN connection did not end in time');
      });
    }
  }

  async #subscribe(client: pg.Client): Promise<void> {
    await client.connect();
    await client.query(`listen ${pg.escapeIdentifier(this.#options.channel)}`);
  }

  #ping(client: pg.Client): void {
    if (!this.#connected) return;
    withDeadline(client.query('select 1'), this.#pingMs, 'the LISTEN connection').catch((error: unknown) => {
      client.emit('error', toError(error));
    });
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
