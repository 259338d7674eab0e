/**
 * One connection that LISTENs for everybody in this process. A NOTIFY is a hint and no more: one that is sent while the
 * connection is down is lost. So every new connection wakes all listeners too, and a listener also polls or can do without.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { toError } from '../../contract/errors.ts';
import { withDeadline } from '../lifecycle.ts';
import type { Logger } from '../logging/logger.ts';

interface Listener {
  channel: string;
  /** Called with the payload of each notification, and with null once listening has begun, or begun again. */
  onWake: (payload: string | null) => void;
}

const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 5_000;
/** So often a silent connection is asked whether it lives; it has as long to answer. */
const PING_MS = 10_000;
const CLOSE_MS = 1_000;

/** NoticeConnection is opened with the first listener, ends with the last one, and is reopened for ever in between. */
export class NoticeConnection {
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
    let retryMs = MIN_RETRY_MS;
    while (!stop.aborted) {
      try {
        await this.#listenOnce(stop, () => {
          retryMs = MIN_RETRY_MS;
        });
      } catch (thrown) {
        this.#logger.debug({ err: toError(thrown) }, 'the LISTEN connection broke; polling goes on');
      }
      await sleep(retryMs, undefined, { signal: stop }).catch(() => undefined);
      retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
    }
  }

  /** Throws when the connection has ended, which `stop` brings about too. */
  async #listenOnce(stop: AbortSignal, onConnected: () => void): Promise<void> {
    const client = new pg.Client(this.#config);
    const ended = new Promise<never>((_, reject) => {
      client.on('error', reject);
      client.on('end', () => reject(new Error('the server closed the connection')));
      stop.onabort = () => reject(new Error('nobody listens any more'));
    });
    // It may reject after the race below was decided.
    ended.catch(() => undefined);
    client.on('notification', ({ channel, payload = '' }) => {
      for (const listener of this.#listeners) if (listener.channel === channel) listener.onWake(payload);
    });
    const pinger = setInterval(() => this.#ping(client), PING_MS);
    try {
      await Promise.race([this.#subscribe(client), ended]);
      onConnected();
      for (const listener of this.#listeners) listener.onWake(null);
      await ended;
    } finally {
      this.#client = null;
      clearInterval(pinger);
      await withDeadline(client.end(), CLOSE_MS, 'ending LISTEN').catch((error: unknown) => {
        this.#logger.debug({ err: toError(error) }, 'the LISTEN connection did not end in time');
      });
    }
  }

  async #subscribe(client: pg.Client): Promise<void> {
    await client.connect();
    this.#lastStatement = Promise.resolve();
    // Whoever calls listen from here on joins by itself.
    this.#client = client;
    for (const { channel } of this.#listeners) await this.#run(client, listenTo(channel));
  }

  #join(client: pg.Client, listener: Listener): void {
    withDeadline(this.#run(client, listenTo(listener.channel)), PING_MS, 'a LISTEN').then(
      () => {
        if (this.#listeners.has(listener)) listener.onWake(null);
      },
      (error: unknown) => client.emit('error', toError(error)),
    );
  }

  #ping(client: pg.Client): void {
    if (this.#client === null) return;
    withDeadline(this.#run(client, 'select 1'), PING_MS, 'the LISTEN connection').catch((error: unknown) =>
      client.emit('error', toError(error)),
    );
  }

  #run(client: pg.Client, text: string): Promise<unknown> {
    const done = this.#lastStatement.then(() => client.query(text));
    this.#lastStatement = done.catch(() => undefined);
    return done;
  }
}

function listenTo(channel: string): string {
  return `listen ${pg.escapeIdentifier(channel)}`;
}
