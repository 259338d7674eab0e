/**
 * The connections of one worker to one backend. The newest parked one is reused first, so that under low load the others
 * expire. A request never waits for a connection: it opens one.
 */

import { processBodyBuffers } from '../http1/body-buffers.ts';
import { Connection, type ConnectionHost, type ConnectionSettings } from './connection.ts';
import type { ResponseSink, UpstreamExchange, UpstreamRequest } from './exchange.ts';

const DEFAULT_MAX_IDLE = 512;
const DEFAULT_PARK_MS = 60_000;

/** One address, its deadlines, and what has a default: 60 s parked, the buffers of the process, a process warning. */
export interface BackendPoolOptions
  extends Omit<ConnectionSettings, Defaulted>,
    Partial<Pick<ConnectionSettings, Defaulted>> {
  /** Parked connections kept at most; default 512. */
  maxIdle?: number;
}

type Defaulted = 'parkMs' | 'buffers' | 'onFault';

/** BackendPool is built per (worker, backend) by the plan and asked by every attempt. */
export class BackendPool implements ConnectionHost {
  readonly #settings: ConnectionSettings;
  readonly #maxIdle: number;
  readonly #idle: Connection[] = [];
  #openCount = 0;
  #closed = false;

  constructor({ maxIdle = DEFAULT_MAX_IDLE, ...settings }: BackendPoolOptions) {
    this.#settings = {
      parkMs: DEFAULT_PARK_MS,
      buffers: processBodyBuffers(),
      onFault: (error) => process.emitWarning(error),
      ...settings,
    };
    this.#maxIdle = maxIdle;
  }

  /**
   * start sends a request; the sink hears nothing before start has returned.
   * @param options fresh: never on a connection that served before (the second try of B10)
   */
  start(request: UpstreamRequest, sink: ResponseSink, options: { fresh: boolean }): UpstreamExchange {
    const parked = options.fresh ? undefined : this.#newestIdle();
    return (parked ?? this.#open()).start(request, sink);
  }

  #newestIdle(): Connection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      // One that has just been destroyed tells so a tick later.
      if (connection === undefined || connection.readable) return connection;
      connection.close();
    }
  }

  #open(): Connection {
    this.#openCount++;
    return new Connection(this.#settings, this);
  }

  /** close destroys parked connections; busy ones finish and are not parked again. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  /** Connections parked now. */
  get idleCount(): number {
    return this.#idle.length;
  }

  /** Connections connecting, busy or parked. */
  get openCount(): number {
    return this.#openCount;
  }

  park(connection: Connection): boolean {
    if (this.#closed || this.#idle.length >= this.#maxIdle) return false;
    this.#idle.push(connection);
    return true;
  }

  remove(connection: Connection): void {
    const index = this.#idle.lastIndexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
  }

  closed(): void {
    this.#openCount--;
  }
}
