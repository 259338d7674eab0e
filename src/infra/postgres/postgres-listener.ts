/**
 * One connection that LISTENs for everybody in this process. A NOTIFY is a hint and no more: one that is sent while the
 * connection is down is lost. So every new connection wakes all listeners too, and a listener also polls or can do without.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { toError } from '../../contract/errors.ts';
import type { Logger } from '../logging/logger.ts';
import { withDeadline } from '../with-deadline.ts';

interface Listener {
  channel: string;
  onWake: (payload: string | null) => void;
}

const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 5_000;
/** How often a connection is pinged; also how long each statement may wait for its answer. */
const PING_MS = 10_000;
const CLOSE_MS = 1_000;

/** ListenConnection is opened with the first listener, ends with the last one, and is reopened for ever in between. */
export class ListenConnection {
  readonly #config: pg.ClientConfig;
  readonly #logger: Logger;
  readonly #listeners = new Set<Listener>();
  /** Ends the loop; null while nobody listens. */
  #stop: AbortController | null = null;
  #loop: Promise<void> = Promise.resolve();
  /** null: not connected. */
  #client: pg.Client | null = null;
  /** The statement before the next one: pg wants one at a time. */
  #lastStatement: Promise<unknown> = Promise.resolve();
  #retryMs = MIN_RETRY_MS;

  /** Made by Database. */
  constructor(config: pg.ClientConfig, logger: Logger) {
    this.#config = { ...config, keepAlive: true };
    this.#logger = logger;
  }

  /** listen is Database.listen. Returns how to stop. */
  listen(channel: string, onWake: Listener['onWake']): () => void {
    const listener = { channel, onWake };
    this.#listeners.add(listener);
    if (this.#stop === null) {
      this.#stop = new AbortController();
      const { signal } = this.#stop;
      this.#loop = this.#loop.then(() => this.#keepListening(signal));
    } else if (this.#client !== null) this.#join(this.#client, listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#end();
    };
  }

  /** close forgets all listeners and waits for the end of the connection. */
  async close(): Promise<void> {
    this.#listeners.clear();
    this.#end();
    await this.#loop;
  }

  #end(): void {
    this.#stop?.abort();
    this.#stop = null;
  }

  async #keepListening(stop: AbortSignal): Promise<void> {
    this.#retryMs = MIN_RETRY_MS;
    while (!stop.aborted) {
      await this.#listenOnce(stop).catch((thrown: unknown) => {
        this.#logger.debug({ err: toError(thrown) }, 'the LISTEN connection broke; polling goes on');
      });
      await sleep(this.#retryMs, undefined, { signal: stop }).catch(() => undefined);
      this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
    }
  }

  /** Rejects when the connection has ended, which `stop` brings about too. */
  async #listenOnce(stop: AbortSignal): Promise<void> {
    const client = new pg.Client(this.#config);
    const ended = new Promise<never>((_, reject) => {
      client.on('error', reject);
      client.on('end', () => reject(new Error('the server closed the connection')));
      stop.onabort = () => reject(new Error('nobody listens any more'));
    });
    client.on('notification', ({ channel, payload = '' }) => {
      for (const listener of this.#listeners) if (listener.channel === channel) listener.onWake(payload);
    });
    const pinger = setInterval(() => {
      if (this.#client === client) this.#ask(client, 'select 1');
    }, PING_MS);
    try {
      await Promise.race([client.connect(), ended]);
      // Whoever calls listen from here on joins by itself.
      this.#client = client;
      this.#lastStatement = Promise.resolve();
      for (const listener of this.#listeners) this.#join(client, listener);
      await ended;
    } finally {
      this.#client = null;
      clearInterval(pinger);
      await withDeadline(client.end(), CLOSE_MS, 'ending LISTEN').catch((error: unknown) => {
        this.#logger.debug({ err: toError(error) }, 'the LISTEN connection did not end in time');
      });
    }
  }

  #join(client: pg.Client, listener: Listener): void {
    this.#ask(client, `listen ${pg.escapeIdentifier(listener.channel)}`, () => {
      this.#retryMs = MIN_RETRY_MS;
      if (this.#listeners.has(listener)) listener.onWake(null);
    });
  }

  /** A connection that fails a statement, or does not answer in time, ends. */
  #ask(client: pg.Client, text: string, onAnswer = (): void => undefined): void {
    const asked = this.#lastStatement.then(() => client.query(text));
    this.#lastStatement = asked.catch(() => undefined);
    withDeadline(asked, PING_MS, 'the LISTEN connection').then(onAnswer, (error: unknown) =>
      client.emit('error', toError(error)),
    );
  }
}
