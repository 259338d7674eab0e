/** The listeners of a worker and the connections that they accept, from the first to the end of a drain. */
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ConnectionProtocol } from '../../contract/connection-protocol.ts';
import type { Downstream } from '../../contract/downstream.ts';
import { toError } from '../../contract/errors.ts';
import type { ListenSettings } from '../../contract/settings.ts';
import type { TlsMaterial } from '../../contract/tls.ts';
import type { DeadlineTimer } from '../../infra/deadline-timer.ts';
import { closeListeners, openListener } from '../../infra/listeners.ts';
import { FaultLog } from '../../infra/logging/fault-log.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { PlacedList } from '../../infra/placed-list.ts';
import { atMost } from '../../infra/with-deadline.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';
import { processBodyBuffers } from '../../memory/body-buffers.ts';
import type { Handler, UnparsedRequest } from '../../proxy/handler.ts';
import type { Overload } from '../../proxy/overload.ts';
import type { Plan } from '../../proxy/plan.ts';
import { Acceptor, type Protocols } from './acceptor.ts';
import type { BaseConnection, ConnectionOwner, ServeConnection } from './base-connection.ts';
import { ConnectionCaps } from './connection-caps.ts';
import { Drain, type DrainTimes } from './drain.ts';
import { ProxyHeaderFailures } from './proxy-header-failures.ts';
import { Surplus } from './surplus.ts';
import { HandshakeTracker } from './tls/handshake-tracker.ts';

/**
 * Engine serves one protocol: HTTP/1.1 of our own (http1/) or by raw node:http (node/), HTTP/2 (h2/). Called once
 * per worker.
 */
export type Engine = (owner: ConnectionOwner) => ServeConnection;

interface InboundServerDeps {
  /** The plan in force; see ConnectionOwner. */
  plan: () => Plan;
  handler: Handler;
  timer: DeadlineTimer;
  metrics: WorkerMetrics;
  logger: Logger;
  overload: Overload;
  engine: Engine;
  /** null where no address has HTTP/2. */
  http2: Engine | null;
  /** Called before the listeners close; resolves once the primary deals this worker no further connection. */
  endDeal?: () => Promise<unknown>;
}

/** InboundServer is made once per worker (worker/data-plane.ts). */
export class InboundServer implements ConnectionOwner {
  readonly timer: DeadlineTimer;
  readonly buffers = processBodyBuffers;
  draining = false;
  readonly #deps: InboundServerDeps;
  /** Open listeners; null once they were closed. */
  #listeners: Server[] | null = [];
  /** By addressesByKey. */
  readonly #acceptors = new Map<string, Acceptor>();
  readonly #protocols: Protocols;
  readonly #handshakes: HandshakeTracker;
  readonly #proxyHeaderFailures: ProxyHeaderFailures;
  readonly #connections = new PlacedList<BaseConnection>();
  readonly #caps: ConnectionCaps;
  readonly #acceptedCell: number;
  readonly #overloadCell: number;
  readonly #surplus = new Surplus();
  readonly #drain: Drain;

  constructor(deps: InboundServerDeps) {
    this.#deps = deps;
    this.timer = deps.timer;
    const { metrics, logger, timer } = deps;
    const failedHandshakes = new FaultLog(timer, (facts) => logger.info(facts, 'TLS handshake failed'));
    this.#handshakes = new HandshakeTracker(metrics, failedHandshakes);
    const strangers = new FaultLog(timer, (facts) =>
      logger.warn(facts, 'a connection without a valid PROXY header'),
    );
    this.#proxyHeaderFailures = new ProxyHeaderFailures(metrics, strangers);
    this.#caps = new ConnectionCaps(metrics);
    this.#drain = new Drain({
      timer,
      connections: this.#connections.items,
      headersMs: () => this.plan.timeouts.headersMs,
      closeListeners: (restMs) => this.#closeListeners(restMs),
      halfCloseTunnels: () => deps.handler.tunnels.halfClose(),
      cut: () => this.cut(),
    });
    this.#protocols = { http1: deps.engine(this), h2: deps.http2?.(this) ?? null };
    this.#acceptedCell = metrics.series('sluice_connections_accepted_total');
    this.#overloadCell = metrics.series('sluice_shed_total', 'overload');
  }

  get connectionCount(): number {
    return this.#connections.items.length;
  }

  /** connectionsByProtocol counts the open connections. */
  connectionsByProtocol(): Record<ConnectionProtocol, number> {
    const counts = { pending: 0, http1: 0, h2: 0 };
    for (const { protocol } of this.#connections.items) counts[protocol] += 1;
    return counts;
  }

  get plan(): Plan {
    return this.#deps.plan();
  }

  /** expect prepares for connections to an address: the primary deals them, or listen follows. @param key of addressesByKey */
  expect(address: ListenSettings, key: string): Acceptor {
    const acceptor = new Acceptor({
      address,
      owner: this,
      protocols: this.#protocols,
      handshakes: this.#handshakes,
      proxyHeaderFailures: this.#proxyHeaderFailures,
    });
    this.#acceptors.set(key, acceptor);
    return acceptor;
  }

  /** listen opens an expected address and returns its URL; see openListener, also for its parameters and errors. */
  async listen(address: ListenSettings, key: string, inheritedFd: number | null = null): Promise<string> {
    const acceptor = this.#acceptors.get(key) ?? this.expect(address, key);
    // With this highWaterMark, node stops reading a paused socket once one read waits in it.
    const options = { allowHalfOpen: true, noDelay: true, highWaterMark: 1 };
    const server = createServer(options, (socket) => acceptor.accept(socket));
    const url = await openListener(server, address, inheritedFd);
    if (this.#listeners === null) void closeListeners([server], 0);
    else this.#listeners.push(server);
    server.on('error', (error) => this.#deps.logger.error({ err: error }, 'listener failed'));
    return url;
  }

  /** useTls gives every expected address its certificates and ticket keys for handshakes from now on. */
  useTls({ ticketKeys, addresses }: TlsMaterial): void {
    const { logger } = this.#deps;
    const keys = Buffer.from(ticketKeys, 'base64');
    for (const tls of addresses) {
      try {
        for (const { names, error } of this.#acceptors.get(tls.address)?.useTls(tls, keys) ?? [])
          logger.error({ names, err: error }, 'a certificate cannot be used, and is left out');
      } catch (thrown) {
        logger.error({ err: toError(thrown) }, 'TLS cannot be changed, that of before stays');
      }
    }
  }

  /** take is called with each connection that the primary deals, in the turn in which it came. */
  take(key: string, socket: Socket): void {
    const acceptor = this.#acceptors.get(key);
    socket.allowHalfOpen = true;
    if (acceptor === undefined) socket.destroy();
    else acceptor.accept(socket);
  }

  /**
   * drain ends the service (B38). For graceMs everything goes on. Then only connections that wait already are accepted, idle ones
   * are closed, and answers carry `Connection: close`. What is under way after drainMs is cut. Resolves when nothing is open.
   */
  async drain({ graceMs, drainMs, alone = false }: DrainTimes): Promise<void> {
    if (graceMs > 0) await delay(graceMs);
    this.draining = true;
    void this.#deps.handler.tunnels.leave();
    for (const connection of this.#connections.items.slice()) connection.beginDrain();
    await this.#drain.run({ drainMs, alone });
  }

  async #closeListeners(restMs: number): Promise<void> {
    await atMost(this.#deps.endDeal?.(), restMs);
    const listeners = this.#listeners ?? [];
    this.#listeners = null;
    await closeListeners(listeners, restMs);
  }

  /** stopListening makes a worker that drains alone close its listeners, because the others drain now, too. */
  stopListening(): void {
    this.#drain.stopListening();
  }

  /** cut closes every connection at once. Their requests are logged as `shutdown`. */
  cut(): void {
    this.#deps.handler.stop();
    for (const connection of this.#connections.items.slice()) connection.destroy();
  }

  /** shareConnections is called about once a second. @param meanConnections over all workers */
  shareConnections(meanConnections: number): void {
    this.#surplus.set(this.connectionCount, meanConnections);
  }

  takeSurplus(protocol: ConnectionProtocol): boolean {
    return this.#surplus.take() || this.#deps.overload.endsConnection(protocol === 'h2');
  }

  serve(downstream: Downstream): void {
    this.#deps.handler.handle(downstream);
  }

  onOverload(): void {
    this.#deps.metrics.add(this.#overloadCell, 1);
  }

  refusalOf(connection: BaseConnection, request: UnparsedRequest): string {
    const totalMs = this.timer.monotonicMs() - connection.sinceMs;
    return this.#deps.handler.refuseUnparsed(request, connection.client.address, totalMs);
  }

  onConnectionClosed(connection: BaseConnection): void {
    this.#connections.remove(connection);
    this.#caps.closed(connection);
    if (this.draining) this.#drain.connectionClosed();
  }

  replace(before: BaseConnection, after: BaseConnection): void {
    this.#connections.remove(before);
    this.#connections.add(after);
    if (before.isClient) after.counted = before.counted;
    else this.#capConnection(after);
    if (this.draining) after.beginDrain();
  }

  admit(connection: BaseConnection): void {
    if (this.draining) connection.beginDrain();
    this.#connections.add(connection);
    this.#deps.metrics.add(this.#acceptedCell, 1);
    this.#capConnection(connection);
  }

  #capConnection(connection: BaseConnection): void {
    this.#caps.excess(connection, this.#connections.items, this.plan)?.destroy();
  }
}
