/**
 * The listeners of a worker: node:http with strict parsing, our own caps, refusals and drain. Everything that node would
 * do behind our back is switched off or taken over: keep-alive timers, `100 Continue`, bare 400s, closing of idle
 * connections.
 */
import { Server } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../contract/clock.ts';
import { systemCodeOf, toError } from '../contract/errors.ts';
import type { LimitSettings, ListenAddress } from '../contract/settings.ts';
import type { DeadlineWheel } from '../infra/deadline-wheel.ts';
import { openFileLimit } from '../infra/file-descriptors.ts';
import type { Logger } from '../infra/logger.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import { NOWHERE } from '../infra/placed-list.ts';
import type { Handler } from '../proxy/handler.ts';
import type { Plan } from '../proxy/plan.ts';
import type { ConnectionOwner, Failure } from './connection-owner.ts';
import { ConnectionRegistry } from './connection-registry.ts';
import type { DirectReads } from './direct-reads.ts';
import { InboundConnection } from './inbound-connection.ts';
import type { InboundRequest } from './inbound-request.ts';
import type { InboundResponse } from './inbound-response.ts';
import type { InnerWays } from './inner-ways.ts';
import { Listeners } from './listeners.ts';
import { NodeDownstream } from './node-downstream.ts';
import type { HeadWriter } from './response-heads.ts';

/** How often deadlines of heads are looked at: B13 allows one such step. */
const CHECK_EVERY_MS = 1_000;
/** After so many of them the parser has surely looked at a deadline that is over. */
const HEAD_CHECKS = 2;
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
/** Room for the request line beside targetBytes and headerBytes (contract §8). */
const PARSER_MARGIN_BYTES = 1024;

/** node reads maxHeaderSize at each connection; its types know the option only. */
type HttpServer = Server<typeof InboundRequest, typeof InboundResponse> & { maxHeaderSize?: number };

export interface InboundServerDeps {
  /** The plan in force: its limits and timeouts hold for each new connection. */
  plan: () => Plan;
  handler: Handler;
  wheel: DeadlineWheel;
  clock: Clock;
  metrics: WorkerMetrics;
  logger: Logger;
  ways: InnerWays;
}

export interface DrainTimes {
  /** Everything goes on for so long. */
  graceMs: number;
  /** Then: for what is in flight. */
  drainMs: number;
  /** Nobody else accepts from this worker's sockets until it is replaced: it goes on for as long as it has to stay anyway. */
  alone?: boolean;
}

/** InboundServer is made once per worker by its main. */
export class InboundServer implements ConnectionOwner<InboundConnection> {
  readonly wheel: DeadlineWheel;
  readonly clock: Clock;
  readonly writeHead: HeadWriter;
  readonly directReads: DirectReads | null;
  waitingCount = 0;
  readonly #deps: InboundServerDeps;
  readonly #listeners: Listeners;
  readonly #connections = new ConnectionRegistry();
  /**
   * Connections of peers that are no trusted proxies, by address; as many entries as connections at most. null while there
   * is no cap on them: a Map is dear where connections come and go (see ConnectionRegistry).
   */
  #perAddress: Map<string, number> | null = null;
  readonly #automaticCap = Math.floor(openFileLimit() / 2);
  readonly #openCell: number;
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
    this.wheel = deps.wheel;
    this.clock = deps.clock;
    this.#listeners = new Listeners(deps.clock);
    this.writeHead = deps.ways.writeHead;
    this.directReads = deps.ways.directReads;
    const { metrics } = deps;
    this.#openCell = metrics.series('sluice_connections_open');
    this.#shedCell = metrics.series('sluice_shed_total', 'connections');
    this.#shedPerAddressCell = metrics.series('sluice_shed_total', 'connections_per_ip');
    this.#overloadCell = metrics.series('sluice_shed_total', 'overload');
  }

  /** Client connections open now. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  get draining(): boolean {
    return this.#draining;
  }

  get keepAliveMs(): number {
    return this.#deps.plan().timeouts.keepAliveMs;
  }

  get headMs(): number {
    return this.#deps.plan().timeouts.headersMs + HEAD_CHECKS * CHECK_EVERY_MS;
  }

  get writeIdleMs(): number {
    return this.#deps.plan().timeouts.writeIdleMs;
  }

  /** listen opens one address and returns its URL; see Listeners.open, also for its parameters and errors. */
  async listen(address: ListenAddress, inheritedFd: number | null = null): Promise<string> {
    const server = this.#makeServer();
    const url = await this.#listeners.open(server, address, inheritedFd);
    server.on('error', (error) => this.#deps.logger.error({ err: error }, 'listener failed'));
    return url;
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
    const headsEndAtMs = startMs + this.headMs;
    this.#closeIdle(headsEndAtMs);
    const sweep = setInterval(() => this.#closeIdle(headsEndAtMs), DRAIN_SWEEP_MS);
    const restMs = Math.min(QUEUE_REST_MS, drainMs / 2);
    if (alone) await this.#outlastPresent(endsAtMs - restMs);
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
    let present = this.#connections.snapshot();
    while (present.length > 0 && !this.#listeningOver && this.clock.monotonicMs() < untilMs) {
      await delay(DRAIN_SWEEP_MS);
      present = present.filter(({ place }) => place !== NOWHERE);
    }
  }

  async #waitUntilEmpty(endsAtMs: number): Promise<void> {
    if (this.#connections.size === 0) return;
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    const aborted = new AbortController();
    const leftMs = Math.max(0, endsAtMs - this.clock.monotonicMs());
    await Promise.race([empty, delay(leftMs, undefined, { signal: aborted.signal }).catch(ignoreAbort)]);
    aborted.abort();
    for (const { socket } of this.#connections.snapshot()) socket.destroy();
    await empty;
  }

  /** @param headsEndAtMs until then bytes on an idle connection may be the beginning of a head */
  #closeIdle(headsEndAtMs: number): void {
    const nowMs = this.clock.monotonicMs();
    for (const { idle, receiving, sinceMs, socket } of this.#connections.snapshot()) {
      const mayBegin = receiving && nowMs < headsEndAtMs;
      if (idle && !mayBegin && sinceMs <= nowMs - DRAIN_IDLE_MS) socket.destroy();
    }
  }

  /** shareConnections is called about once a second with the mean over all workers; see CROWDED_RATIO. */
  shareConnections(meanConnections: number): void {
    const surplus = this.#connections.size - meanConnections;
    const crowded = meanConnections >= CROWDED_MEAN_MIN && surplus > meanConnections * (CROWDED_RATIO - 1);
    this.#surplus = crowded ? Math.floor(surplus) : 0;
  }

  get crowded(): boolean {
    return this.#surplus > 0;
  }

  /** takeSurplus is asked by a connection that could go on: true makes it end with the answer under way. */
  takeSurplus(): boolean {
    if (this.#surplus === 0) return false;
    this.#surplus -= 1;
    return true;
  }

  serve(downstream: NodeDownstream): void {
    this.#deps.handler.handle(downstream);
  }

  onOverload(): void {
    this.#deps.metrics.add(this.#overloadCell, 1);
  }

  refusalOf(connection: InboundConnection, { status, method }: Failure): string {
    return this.#deps.handler.refuseUnparsed({
      peerAddress: connection.peer.address,
      status,
      method,
      totalMs: this.clock.monotonicMs() - connection.sinceMs,
    });
  }

  onConnectionClosed(connection: InboundConnection): void {
    this.#connections.remove(connection);
    if (connection.counted) this.#countPeer(connection.peer.address, -1);
    this.#deps.metrics.set(this.#openCell, this.#connections.size);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #makeServer(): HttpServer {
    const server: HttpServer = new Server({
      ...this.#deps.ways.messages,
      keepAliveTimeout: 0,
      optimizeEmptyRequests: true,
      noDelay: true,
      requestTimeout: 0,
      headersTimeout: this.#deps.plan().timeouts.headersMs,
      connectionsCheckingInterval: CHECK_EVERY_MS,
      // Ours says why, and carries a request id.
      requireHostHeader: false,
      shouldUpgradeCallback: () => false,
      httpValidation: 'strict',
    });
    // Before node's own listener, which reads the limits set here.
    server.prependListener('connection', (socket: Socket) => this.#onConnection(server, socket));
    const onRequest = (request: InboundRequest, response: InboundResponse): void => {
      const connection = this.#connections.of(request.socket);
      if (connection === undefined) return;
      const downstream = new NodeDownstream(request, response, connection);
      connection.take(downstream);
      downstream.parsing = false;
    };
    server.on('request', onRequest);
    server.on('checkContinue', onRequest);
    server.on('checkExpectation', onRequest);
    server.on('connect', (_request, socket) => this.#onConnect(socket as Socket));
    server.on('clientError', (error, socket) => this.#onClientError(error, socket as Socket));
    return server;
  }

  #onConnection(server: HttpServer, socket: Socket): void {
    const plan = this.#deps.plan();
    const { limits, timeouts } = plan;
    server.headersTimeout = timeouts.headersMs;
    server.maxHeadersCount = limits.headerCount + 1;
    server.maxHeaderSize = limits.headerBytes + limits.targetBytes + PARSER_MARGIN_BYTES;
    const connection = new InboundConnection(socket, this);
    this.#connections.add(connection);
    this.#deps.metrics.set(this.#openCell, this.#connections.size);
    const shedCell = this.#shedCellFor(limits, this.#countOf(connection, plan));
    if (shedCell === null) return;
    this.#deps.metrics.add(shedCell, 1);
    socket.destroy();
  }

  /** B20: what to count where a connection is above a cap; null where it may stay. */
  #shedCellFor(limits: LimitSettings, ofPeer: number): number | null {
    const cap = limits.connections === 'auto' ? this.#automaticCap : limits.connections;
    if (cap > 0 && this.#connections.size > cap) return this.#shedCell;
    const perAddressCap = limits.connectionsPerIp;
    return perAddressCap > 0 && ofPeer > perAddressCap ? this.#shedPerAddressCell : null;
  }

  /** Connections of a new one's address with it; 0 where they are not counted. The first under a cap counts all that are there. */
  #countOf(connection: InboundConnection, { limits, trusted }: Plan): number {
    if (limits.connectionsPerIp === 0) {
      this.#perAddress = null;
      return 0;
    }
    const uncounted = this.#perAddress === null ? this.#connections.snapshot() : [connection];
    this.#perAddress ??= new Map();
    for (const each of uncounted) {
      each.counted = !trusted.trusts(each.peer.address);
      if (each.counted) this.#countPeer(each.peer.address, 1);
    }
    return connection.counted ? (this.#perAddress.get(connection.peer.address) ?? 0) : 0;
  }

  #countPeer(address: string, change: 1 | -1): void {
    const counts = this.#perAddress;
    const count = (counts?.get(address) ?? 0) + change;
    if (count > 0) counts?.set(address, count);
    else counts?.delete(address);
  }

  /** Tunnels through us to anywhere are not offered. node has taken its listeners off this socket. */
  #onConnect(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    this.#connections.of(socket)?.fail({ status: 501, method: 'CONNECT' });
  }

  #onClientError(error: Error, socket: Socket): void {
    const connection = this.#connections.of(socket);
    const status = statusOf(error, connection);
    if (connection === undefined || status === null) socket.destroy();
    else connection.fail({ status, method: null });
  }
}

function ignoreAbort(thrown: unknown): void {
  if (toError(thrown).name !== 'AbortError') throw thrown;
}

/** What a failure of the parser deserves; null: nothing to say, or nobody to say it to. */
function statusOf(error: Error, connection: InboundConnection | undefined): number | null {
  const code = systemCodeOf(error);
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      // Connections opened in advance and never used are closed without a word, as nginx does.
      return connection?.socket.bytesRead === 0 ? null : 408;
    case 'HPE_HEADER_OVERFLOW':
      return overflowStatus(error, connection);
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 413;
    case 'HPE_INVALID_VERSION':
      return 'reason' in error && error.reason === 'Invalid HTTP version' ? 505 : 400;
    default:
      return code?.startsWith('HPE_') ? 400 : null;
  }
}

/**
 * 414 when the request line was not complete yet, else 431 (contract §8). The parser only shows the last read. Where that
 * begins the message the answer is exact; in the middle of one very long line a space tells a field from a target.
 */
function overflowStatus(error: Error, connection: InboundConnection | undefined): number {
  if (!('rawPacket' in error) || !Buffer.isBuffer(error.rawPacket)) return 431;
  const parsedBytes = 'bytesParsed' in error ? Number(error.bytesParsed) : error.rawPacket.length;
  const read = error.rawPacket.subarray(0, parsedBytes);
  const headEnd = read.lastIndexOf('\r\n\r\n');
  const message = read.subarray(headEnd < 0 ? 0 : headEnd + 4);
  if (message.includes('\n')) return 431;
  const isBeginning = headEnd >= 0 || connection?.readSinceIdle === error.rawPacket.length;
  return isBeginning || !message.includes(' ') ? 414 : 431;
}
