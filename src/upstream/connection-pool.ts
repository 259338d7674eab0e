/** The connections of one worker to one backend. The newest parked one serves first; without one a request opens its own. */
import { Connection, type ConnectionHost, type ConnectionSettings } from './connection.ts';
import type { Exchange, ResponseSink, UpstreamRequest } from './exchange.ts';

const DEFAULT_MAX_IDLE = 512;

/** BackendPool is made by the plan per backend; attempts start requests on it. */
export class BackendPool implements ConnectionHost {
  readonly #settings: ConnectionSettings;
  readonly #idle: Connection[] = [];
  /** Connections that are connecting, busy or parked. */
  openCount = 0;
  #closed = false;

  constructor(settings: ConnectionSettings) {
    this.#settings = settings;
  }

  /** start sends a request; the sink hears nothing before it has returned. @param options fresh: on a new connection (B10) */
  start(request: UpstreamRequest, sink: ResponseSink, options: { fresh: boolean }): Exchange {
    const parked = options.fresh ? undefined : this.#newestIdle();
    if (parked !== undefined) return parked.start(request, sink);
    this.openCount++;
    return new Connection(this.#settings, this).start(request, sink);
  }

  #newestIdle(): Connection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      // A connection that has just ended says so a tick later.
      if (connection === undefined || connection.readable) return connection;
      connection.close();
    }
  }

  /** close closes the parked connections; the others finish their request and close. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  get idleCount(): number {
    return this.#idle.length;
  }

  park(connection: Connection): boolean {
    const { maxIdle = DEFAULT_MAX_IDLE } = this.#settings;
    if (this.#closed || this.#idle.length >= maxIdle) return false;
    this.#idle.push(connection);
    return true;
  }

  onClosed(connection: Connection): void {
    this.openCount--;
    const index = this.#idle.lastIndexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
  }
}
