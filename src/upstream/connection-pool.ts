/**
 * The connections of one worker to one backend. The newest parked one is used first, so that under low load the others
 * expire. A request never waits for a connection: it opens one.
 */
import { processBodyBuffers } from '../http1/body-buffers.ts';
import { Connection, type ConnectionHost, type ConnectionSettings } from './connection.ts';
import type { Exchange, ResponseSink, UpstreamRequest } from './exchange.ts';

const DEFAULTS = { maxIdle: 512, parkMs: 60_000 };

/** One backend and its deadlines. */
export interface BackendPoolOptions extends Omit<ConnectionSettings, 'parkMs' | 'buffers'> {
  /** Parked connections at most; default 512. */
  maxIdle?: number;
  /** See ConnectionSettings; default 60 s. */
  parkMs?: number;
  /** Default: those of the process. */
  buffers?: ConnectionSettings['buffers'];
}

/** BackendPool is made by the plan per backend; attempts start requests on it. */
export class BackendPool implements ConnectionHost {
  readonly #settings: ConnectionSettings & { maxIdle: number };
  readonly #idle: Connection[] = [];
  #openCount = 0;
  #closed = false;

  constructor(options: BackendPoolOptions) {
    this.#settings = { ...DEFAULTS, buffers: processBodyBuffers(), ...options };
  }

  /**
   * start sends a request. The sink hears nothing before start has returned.
   * @param options fresh: on a connection that has not served before (B10)
   */
  start(request: UpstreamRequest, sink: ResponseSink, options: { fresh: boolean }): Exchange {
    const parked = options.fresh ? undefined : this.#newestIdle();
    return (parked ?? this.#open()).start(request, sink);
  }

  #newestIdle(): Connection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      // A connection that has just ended says so a tick later.
      if (connection === undefined || connection.readable) return connection;
      connection.close();
    }
  }

  #open(): Connection {
    this.#openCount++;
    return new Connection(this.#settings, this);
  }

  /** close closes the parked connections; the others finish their request and close. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  /** Connections that are parked now. */
  get idleCount(): number {
    return this.#idle.length;
  }

  /** Connections that are connecting, busy or parked. */
  get openCount(): number {
    return this.#openCount;
  }

  park(connection: Connection): boolean {
    if (this.#closed || this.#idle.length >= this.#settings.maxIdle) return false;
    this.#idle.push(connection);
    return true;
  }

  onClosed(connection: Connection, wasParked: boolean): void {
    this.#openCount--;
    const index = wasParked ? this.#idle.lastIndexOf(connection) : -1;
    if (index >= 0) this.#idle.splice(index, 1);
  }
}
