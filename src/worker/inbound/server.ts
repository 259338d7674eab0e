/** The listeners of a worker and the connections that they accept, from the first to the end of a drain. */
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ConnectionProtocol } from '../../contract/connection-protocol.ts';
import type { Downstream } from '../../contract/downstream.ts';
import { toError } from '../../contract/errors.ts';
import type { ListenSettings } from '../../contract/settings.ts';
import type { TlsMaterial } from '../../contract/tls.ts';
import type { DeadlineTimer } from '../../infra/deadline-timer.ts';
import { closeListeners, descriptorOf, openListener, QUEUE_REST_MS } from '../../infra/listeners.ts';
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
import type { BaseConnection, ConnectionOwner, Entrance, ServeConnection } from './base-connection.ts';
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
  /** Made when the first address has HTTP/2. */
  http2: Engine;
  /** Called with each accepted connection. */
  onAdmitted?: () => void;
  /** Called before the listeners close; resolves once the primary deals this worker no further connection. */
  endDeal?: () => Promise<unknown>;
}

/** InboundServer is made once per worker (worker/data-plane.ts). */
export class InboundServer implements ConnectionOwner {
  readonly timer: DeadlineTimer;
  readonly buffers = processBodyBuffers;
  draining = false;
  readonly #deps: InboundServerDeps;
  /** Open listeners by the key of their address; null once they were closed. */
  #listeners: Map<string, Server> | null = new Map();
  /** By addressesByKey. Those that are gone stay for one more revision: the primary may still deal connections that waited. */
  readonly #acceptors = new Map<string, Acceptor>();
  #tls: TlsMaterial | null = null;
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
      keepAliveMs: () => this.plan.timeouts.keepAliveMs,
      closeListeners: (restMs) => this.#closeListeners(restMs),
      halfCloseTunnels: () => deps.handler.tunnels.halfClose(),
      cut: () => this.cut(),
    });
    this.#protocols = { http1: deps.engine(this), h2: null };
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

  /**
   * expect prepares for connections to these addresses and no others: the primary deals them, or listen follows. What is changed of an
   * address holds for the connections that it accepts from now on. @param listen by addressesByKey
   */
  expect(listen: ReadonlyMap<string, ListenSettings>): void {
    for (const [key, acceptor] of this.#acceptors) {
      if (acceptor.gone) this.#acceptors.delete(key);
      else acceptor.gone = !listen.has(key);
    }
    for (const [key, address] of listen) {
      if (address.h2c || address.http2) this.#protocols.h2 ??= this.#deps.http2(this);
      const acceptor = this.#acceptors.get(key);
      if (acceptor !== undefined && !acceptor.configure(address)) continue;
      if (acceptor === undefined) this.#acceptors.set(key, this.#makeAcceptor(address));
      const tls = this.#tls?.addresses.filter((each) => each.address === key) ?? [];
      if (this.#tls !== null) this.#giveTls({ ...this.#tls, addresses: tls });
    }
  }

  #makeAcceptor(address: ListenSettings): Acceptor {
    return new Acceptor({
      address,
      owner: this,
      protocols: this.#protocols,
      handshakes: this.#handshakes,
      proxyHeaderFailures: this.#proxyHeaderFailures,
    });
  }

  /** listen opens an expected address and returns its URL; see openListener, also for its parameters and errors. */
  async listen(address: ListenSettings, key: string, bound: Socket | null = null): Promise<string> {
    // With this highWaterMark, node stops reading a paused socket once one read waits in it.
    const options = { allowHalfOpen: true, noDelay: true, highWaterMark: 1 };
    const acceptor = this.#acceptors.get(key);
    const server = createServer(options, (socket) => acceptor?.accept(socket));
    const url = await openListener(server, address, bound);
    if (this.#listeners === null) void closeListeners([server], 0);
    else this.#listeners.set(key, server);
    server.on('error', (error) => this.#deps.logger.error({ err: error }, 'listener failed'));
    return url;
  }

  /** listenFds are the descriptors of its listeners. */
  listenFds(): number[] {
    return [...(this.#listeners?.values() ?? [])].flatMap((server) => descriptorOf(server) ?? []);
  }

  listensAt(key: string): boolean {
    return this.#listeners?.has(key) === true;
  }

  /** pauseListening closes the listeners of which there is a spare socket: connections wait in its queue until listen() is called with it. */
  pauseListening(hasSpare: (key: string) => boolean): void {
    for (const [key, server] of this.#listeners ?? []) {
      if (!hasSpare(key)) continue;
      this.#listeners?.delete(key);
      server.close();
    }
  }

  /** freshCount is the number of connections that may ask for something in the next moment: their last event was that recent. */
  freshCount(withinMs: number): number {
    const sinceMs = this.timer.monotonicMs() - withinMs;
    return this.#connections.items.filter((each) => each.idle && each.sinceMs > sinceMs).length;
  }

  /** endIdle closes the connection that has been idle for longest, if one has been for long: its descriptor is needed. */
  endIdle(): void {
    this.#caps.makeRoom(this.#connections.items, this.timer.monotonicMs())?.destroy();
  }

  /** closeGone closes the listeners of addresses that are gone; those who wait in their queues are accepted before. */
  async closeGone(): Promise<void> {
    const gone: Server[] = [];
    for (const [key, server] of this.#listeners ?? []) {
      if (this.#acceptors.get(key)?.gone === false) continue;
      this.#listeners?.delete(key);
      gone.push(server);
    }
    await closeListeners(gone, QUEUE_REST_MS);
  }

  /** useTls gives every expected address its certificates and ticket keys for handshakes from now on, also those expected later. */
  useTls(material: TlsMaterial): void {
    this.#tls = material;
    this.#giveTls(material);
  }

  #giveTls({ ticketKeys, addresses }: TlsMaterial): void {
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
   * are closed, after a while where the drain is patient, and answers carry `Connection: close`. What is under way after drainMs is cut. Resolves when nothing is open.
   */
  async drain({ graceMs, drainMs, alone = false, patient = false }: DrainTimes): Promise<void> {
    if (graceMs > 0) await delay(graceMs);
    this.draining = true;
    void this.#deps.handler.tunnels.leave();
    for (const connection of this.#connections.items.slice()) connection.beginDrain();
    await this.#drain.run({ drainMs, alone, patient });
  }

  async #closeListeners(restMs: number): Promise<void> {
    await atMost(this.#deps.endDeal?.(), restMs);
    const listeners = [...(this.#listeners?.values() ?? [])];
    this.#listeners = null;
    await closeListeners(listeners, restMs);
  }

  /** hurry ends what a drain does more slowly while other workers serve: they drain now, too. */
  hurry(): void {
    this.#drain.hurry();
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

  endsWithAnswer({ entrance, protocol }: BaseConnection): boolean {
    if (entrance?.gone) return true;
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
    after.entrance = before.entrance;
    if (before.isClient) after.counted = before.counted;
    else this.#capConnection(after);
    if (this.draining) after.beginDrain();
  }

  admit(connection: BaseConnection, entrance: Entrance): void {
    connection.entrance = entrance;
    if (this.draining) connection.beginDrain();
    this.#connections.add(connection);
    this.#deps.metrics.add(this.#acceptedCell, 1);
    this.#capConnection(connection);
    this.#deps.onAdmitted?.();
  }

  #capConnection(connection: BaseConnection): void {
    this.#caps.excess(connection, this.#connections.items, this.plan)?.destroy();
  }
}
