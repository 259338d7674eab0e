/**
 * The listeners of a worker and the connections that they accept: caps, drain, and what the connections share. Engines speak
 * the protocol (engine.ts).
 */
import type { Server, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../../contract/clock.ts';
import type { Downstream } from '../../contract/downstream.ts';
import type { LimitSettings, ListenAddress } from '../../contract/settings.ts';
import { type BodyBuffers, processBodyBuffers } from '../../http1/body-buffers.ts';
import type { DeadlineTimer } from '../../infra/deadline-timer.ts';
import { openFileLimit } from '../../infra/file-descriptors.ts';
import { atMost } from '../../infra/lifecycle.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { WorkerMetrics } from '../../infra/metrics.ts';
import { NOWHERE, PlacedList } from '../../infra/placed-list.ts';
import type { Handler, UnparsedRequest } from '../../proxy/handler.ts';
import type { Plan } from '../../proxy/plan.ts';
import type { ConnectionOwner, Engine, InboundConnection } from './engine.ts';
import { Listeners } from './listeners.ts';

/**
 * At the drain a connection must be idle for so long before it is closed: a client in a burst has its next request on the
 * way already, and closing right behind an answer would lose it. Such a client gets `Connection: close` with its next answer.
 */
const DRAIN_IDLE_MS = 250;
const DRAIN_SWEEP_MS = 50;
/** How long connections are still taken from the queues before the listeners are closed; new ones may always come. */
const QUEUE_REST_MS = 1_000;
/**
 * A worker above the mean of all by this ratio asks its surplus to come again, where the mean is worth the trouble. The kernel
 * gives a connection to whichever worker wakes first: measured over 8 workers on 2 cores, the fullest had 1.2 to 2 times
 * the mean of 1,000 to 10,000 connections. Fewer are left alone: clients that overlook `Connection: close` are many.
 */
const CROWDED_RATIO = 1.15;
const CROWDED_MEAN_MIN = 100;

export interface InboundServerDeps {
  /** The plan in force; see ConnectionOwner. */
  plan: () => Plan;
  handler: Handler;
  timer: DeadlineTimer;
  clock: Clock;
  metrics: WorkerMetrics;
  logger: Logger;
  engine: Engine;
  /** Called before the listeners close; resolves once the primary deals this worker no further connection. */
  endDeal?: () => Promise<unknown>;
}

export interface DrainTimes {
  /** Everything goes on for so long. */
  graceMs: number;
  /** Then: for what is in flight. */
  drainMs: number;
  /** Nobody else accepts from this worker's sockets until it is replaced: it goes on for as long as it has to stay anyway. */
  alone?: boolean;
}

/** InboundServer is made once per worker (worker/data-plane.ts). */
export class InboundServer implements ConnectionOwner {
  readonly timer: DeadlineTimer;
  readonly clock: Clock;
  readonly buffers: BodyBuffers = processBodyBuffers();
  readonly #deps: InboundServerDeps;
  readonly #listeners: Listeners;
  readonly #connections = new PlacedList<InboundConnection>();
  /**
   * Connections of peers that are no trusted proxies, by address; as many entries as connections at most. null while there
   * is no cap on them: a Map is dear where connections come and go (see PlacedList).
   */
  #perAddress: Map<string, number> | null = null;
  readonly #automaticCap = Math.floor(openFileLimit() / 2);
  readonly #openCell: number;
  readonly #acceptedCell: number;
  readonly #shedCell: number;
  readonly #shedPerAddressCell: number;
  readonly #overloadCell: number;
  #draining = false;
  /** Whether a worker that drains alone is to close its listeners now. */
  #listeningOver = false;
  /** Connections that are to end with their next answer, because other workers have fewer. */
  #surplus = 0;
  #onEmpty: (() => void) | null = null;

  constructor(deps: InboundServerDeps) {
    this.#deps = deps;
    this.timer = deps.timer;
    this.clock = deps.clock;
    this.#listeners = new Listeners(deps.clock);
    const { metrics } = deps;
    this.#openCell = metrics.series('sluice_connections_open');
    this.#acceptedCell = metrics.series('sluice_connections_accepted_total');
    this.#shedCell = metrics.series('sluice_shed_total', 'connections');
    this.#shedPerAddressCell = metrics.series('sluice_shed_total', 'connections_per_ip');
    this.#overloadCell = metrics.series('sluice_shed_total', 'overload');
  }

  /** Client connections open now. */
  get connectionCount(): number {
    return this.#connections.items.length;
  }

  get draining(): boolean {
    return this.#draining;
  }

  get plan(): Plan {
    return this.#deps.plan();
  }

  /** listen opens one address and returns its URL; see Listeners.open, also for its parameters and errors. */
  async listen(address: ListenAddress, inheritedFd: number | null = null): Promise<string> {
    const server = this.#makeServer(address);
    const url = await this.#listeners.open(server, address, inheritedFd);
    server.on('error', (error) => this.#deps.logger.error({ err: error }, 'listener failed'));
    return url;
  }

  /** expect prepares for the connections of the address of this index in `listen`, which the primary deals. */
  expect(address: ListenAddress, index: number): void {
    this.#listeners.expect(this.#makeServer(address), index);
  }

  /** take is called with each connection that the primary deals; see Listeners.take. */
  take(index: number, socket: Socket): void {
    this.#listeners.take(index, socket);
  }

  #makeServer(address: ListenAddress): Server {
    return this.#deps.engine.makeServer(this, (connection) => this.#onAccept(connection), address.kind);
  }

  /**
   * drain ends the service by B38: for graceMs everything goes on, then no connection is accepted but for those that wait
   * already, idle ones are closed, answers carry `Connection: close`, and what is still under way after drainMs is cut.
   * Resolves when nothing is open.
   */
  async drain({ graceMs, drainMs, alone = false }: DrainTimes): Promise<void> {
    if (graceMs > 0) await delay(graceMs);
    this.#draining = true;
    const startMs = this.clock.monotonicMs();
    const endsAtMs = startMs + drainMs;
    const headsEndAtMs = startMs + this.plan.timeouts.headersMs;
    this.#closeIdle(headsEndAtMs);
    const sweep = setInterval(() => this.#closeIdle(headsEndAtMs), DRAIN_SWEEP_MS);
    const restMs = Math.min(QUEUE_REST_MS, drainMs / 2);
    if (alone) await this.#outlastPresent(endsAtMs - restMs);
    await atMost(this.#deps.endDeal?.(), restMs);
    await this.#listeners.close(restMs);
    await this.#waitUntilEmpty(endsAtMs);
    clearInterval(sweep);
  }

  /** stopListening makes a worker that drains alone close its listeners: the others end as well. */
  stopListening(): void {
    this.#listeningOver = true;
  }

  /** Waits until the connections of now are gone. */
  async #outlastPresent(untilMs: number): Promise<void> {
    let present = this.#connections.items.slice();
    while (present.length > 0 && !this.#listeningOver && this.clock.monotonicMs() < untilMs) {
      await delay(DRAIN_SWEEP_MS);
      present = present.filter(({ place }) => place !== NOWHERE);
    }
  }

  async #waitUntilEmpty(endsAtMs: number): Promise<void> {
    if (this.connectionCount === 0) return;
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    if (!(await atMost(empty, Math.max(0, endsAtMs - this.clock.monotonicMs())))) this.cut();
    await empty;
  }

  /** cut closes every connection at once; the requests on them are logged as `shutdown`. */
  cut(): void {
    this.#deps.handler.stop();
    for (const connection of this.#connections.items.slice()) connection.destroy();
  }

  /** @param headsEndAtMs until then bytes on an idle connection may be the beginning of a head */
  #closeIdle(headsEndAtMs: number): void {
    const nowMs = this.clock.monotonicMs();
    for (const connection of this.#connections.items.slice()) {
      const mayBegin = connection.receiving && nowMs < headsEndAtMs;
      if (connection.idle && !mayBegin && connection.sinceMs <= nowMs - DRAIN_IDLE_MS) connection.destroy();
    }
  }

  /** shareConnections is called about once a second with the mean over all workers; see CROWDED_RATIO. */
  shareConnections(meanConnections: number): void {
    const surplus = this.connectionCount - meanConnections;
    const crowded = meanConnections >= CROWDED_MEAN_MIN && surplus > meanConnections * (CROWDED_RATIO - 1);
    this.#surplus = crowded ? Math.floor(surplus) : 0;
  }

  /** takeSurplus is asked by a connection that could go on: true makes it end with the answer under way. */
  takeSurplus(): boolean {
    if (this.#surplus === 0) return false;
    this.#surplus -= 1;
    return true;
  }

  serve(downstream: Downstream): void {
    this.#deps.handler.handle(downstream);
  }

  onOverload(): void {
    this.#deps.metrics.add(this.#overloadCell, 1);
  }

  refusalOf(connection: InboundConnection, request: UnparsedRequest): string {
    const totalMs = this.clock.monotonicMs() - connection.sinceMs;
    return this.#deps.handler.refuseUnparsed(request, connection.peerAddress, totalMs);
  }

  onConnectionClosed(connection: InboundConnection): void {
    this.#connections.remove(connection);
    if (connection.counted) this.#countPeer(connection.peerAddress, -1);
    this.#deps.metrics.set(this.#openCell, this.connectionCount);
    if (this.connectionCount === 0) this.#onEmpty?.();
  }

  /** @returns whether the connection may stay (B20) */
  #onAccept(connection: InboundConnection): boolean {
    const { plan } = this;
    this.#connections.add(connection);
    this.#deps.metrics.add(this.#acceptedCell, 1);
    this.#deps.metrics.set(this.#openCell, this.connectionCount);
    const shedCell = this.#shedCellFor(plan.limits, this.#countOf(connection, plan));
    if (shedCell === null) return true;
    this.#deps.metrics.add(shedCell, 1);
    return false;
  }

  /** B20: what to count where a connection is above a cap; null where it may stay. */
  #shedCellFor(limits: LimitSettings, ofPeer: number): number | null {
    const cap = limits.connections === 'auto' ? this.#automaticCap : limits.connections;
    if (cap > 0 && this.connectionCount > cap) return this.#shedCell;
    const perAddressCap = limits.connectionsPerIp;
    return perAddressCap > 0 && ofPeer > perAddressCap ? this.#shedPerAddressCell : null;
  }

  /** Connections of a new one's address with it; 0 where they are not counted. The first under a cap counts all that are there. */
  #countOf(connection: InboundConnection, { limits, identifier }: Plan): number {
    if (limits.connectionsPerIp === 0) {
      this.#perAddress = null;
      return 0;
    }
    const uncounted = this.#perAddress === null ? this.#connections.items : [connection];
    this.#perAddress ??= new Map();
    for (const each of uncounted) {
      each.counted = !identifier.addressOf(each.peerAddress).isTrusted;
      if (each.counted) this.#countPeer(each.peerAddress, 1);
    }
    return connection.counted ? (this.#perAddress.get(connection.peerAddress) ?? 0) : 0;
  }

  #countPeer(address: string, change: 1 | -1): void {
    const counts = this.#perAddress;
    const count = (counts?.get(address) ?? 0) + change;
    if (count > 0) counts?.set(address, count);
    else counts?.delete(address);
  }
}
