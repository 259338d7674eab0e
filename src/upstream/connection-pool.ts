/**
 * The connections of one worker to one backend. Parked ones are reused newest first, so that under low load the old ones
 * age out instead of being kept half alive; a request never waits for a connection, it opens one.
 */

import { type BodyBuffers, processBodyBuffers } from '../http1/body-buffers.ts';
import type { DeadlineWheel } from '../infra/deadline-wheel.ts';
import type { WireMaker } from '../infra/wire/wire.ts';
import { Connection, type ConnectionHost, type ConnectionSettings } from './connection.ts';
import type { ResponseSink, UpstreamExchange, UpstreamRequest } from './exchange.ts';
import type { FaultListener } from './live-exchange.ts';

const DEFAULT_MAX_IDLE = 512;
const DEFAULT_PARK_MS = 60_000;

export interface BackendPoolOptions {
  /** Name or address; a name is resolved at each connect. */
  host: string;
  port: number;
  /** From the first SYN to an open connection. */
  connectMs: number;
  /** From the last byte of the request to the end of the final response head. */
  responseMs: number;
  /** Silence inside a response body, or a backend that stops reading the request. */
  idleMs: number;
  wheel: DeadlineWheel;
  /** Parked connections kept at most; default 512. */
  maxIdle?: number;
  /** How long one is kept parked, unless the backend's `Keep-Alive: timeout=` says less; default 60,000. */
  parkMs?: number;
  /** One per worker; the budget of large buffers lies in it. Default: one for the process. */
  buffers?: BodyBuffers;
  wires: WireMaker;
  /** Called when a sink throws; the exchange ends as internal_error all the same. Default: a process warning. */
  onFault?: FaultListener;
}

/** BackendPool is built per (worker, backend) by the plan and asked by every attempt. */
export class BackendPool implements ConnectionHost {
  readonly #settings: ConnectionSettings;
  readonly #maxIdle: number;
  readonly #idle: Connection[] = [];
  #openCount = 0;
  #closed = false;

  constructor(options: BackendPoolOptions) {
    const { host, port, connectMs, responseMs, idleMs, wheel } = options;
    this.#settings = {
      host,
      port,
      connectMs,
      responseMs,
      idleMs,
      wheel,
      parkMs: options.parkMs ?? DEFAULT_PARK_MS,
      buffers: options.buffers ?? processBodyBuffers(),
      wires: options.wires,
      onFault: options.onFault ?? ((error) => process.emitWarning(error)),
    };
    this.#maxIdle = options.maxIdle ?? DEFAULT_MAX_IDLE;
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
