/** The HTTP/1.1 connections of one worker to one backend. The newest parked one serves first; without one a request opens its own. */
import { Connection, type ConnectionHost } from './connection.ts';
import type { ConnectionSettings } from './connection-settings.ts';
import type { BackendConnections, Exchange } from './exchange.ts';
import type { ResponseSink, UpstreamRequest } from './upstream-request.ts';

const DEFAULT_MAX_PARKED = 512;

/** See BackendConnections. */
export class ConnectionPool implements BackendConnections, ConnectionHost {
  readonly #settings: ConnectionSettings;
  readonly #parked: Connection[] = [];
  openCount = 0;
  readonly isExclusive = true;
  #closed = false;

  constructor(settings: ConnectionSettings) {
    this.#settings = settings;
  }

  start(request: UpstreamRequest, sink: ResponseSink, options: { fresh: boolean }): Exchange {
    const parked = options.fresh ? undefined : this.#newestParked();
    if (parked !== undefined) return parked.start(request, sink);
    this.#settings.onOpening?.();
    this.openCount++;
    return new Connection(this.#settings, this, request).start(request, sink);
  }

  #newestParked(): Connection | undefined {
    for (;;) {
      const connection = this.#parked.pop();
      // A connection that has just ended may be in the list for one more tick.
      if (connection === undefined || connection.readable) return connection;
      connection.close();
    }
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#parked.splice(0)) connection.close();
  }

  get parkedCount(): number {
    return this.#parked.length;
  }

  closeParked(): boolean {
    const oldest = this.#parked.shift();
    oldest?.close();
    return oldest !== undefined;
  }

  park(connection: Connection): boolean {
    const { maxParked = DEFAULT_MAX_PARKED, proxyProtocol = 'off' } = this.#settings;
    if (proxyProtocol !== 'off') return false;
    if (this.#closed || this.#parked.length >= maxParked) return false;
    this.#parked.push(connection);
    return true;
  }

  onClosed(connection: Connection): void {
    this.openCount--;
    const index = this.#parked.lastIndexOf(connection);
    if (index >= 0) this.#parked.splice(index, 1);
  }
}
