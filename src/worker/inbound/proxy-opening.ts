/**
 * A connection at an address with `proxyProtocol`, from accept until its PROXY header has come. It begins to read at once, takes
 * exactly the header's bytes and puts back the others. What does not begin with a header is closed without an answer: whoever
 * speaks there is a proxy, or pretends to be one.
 */
import type { Socket } from 'node:net';
import type { ClientFacts, ConnectionEnds } from '../../contract/downstream.ts';
import type { AddressRanges } from '../../infra/address-ranges.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { OncePerSecond } from '../../infra/logging/once-per-second.ts';
import { type HeaderProblem, readProxyHeader } from '../../infra/proxy-protocol/proxy-header-reader.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';
import { BaseConnection, type ConnectionOwner } from './base-connection.ts';

/**
 * Why a connection was closed. stranger: its peer is not in `from`. truncated: it ended within the header. timeout: the header took
 * longer than `timeouts.headers`.
 */
type OpeningProblem = HeaderProblem | 'stranger' | 'truncated' | 'timeout';

interface OpeningDeps {
  metrics: WorkerMetrics;
  logger: Logger;
  lines: OncePerSecond;
}

/** OpeningFailures counts and logs, once per worker. */
export class OpeningFailures {
  readonly #deps: OpeningDeps;

  constructor(deps: OpeningDeps) {
    this.#deps = deps;
  }

  /** note counts a connection, and logs each reason once per second at most. */
  note(reason: OpeningProblem, peer: string): void {
    const { metrics, logger, lines } = this.#deps;
    metrics.add(metrics.series('sluice_proxy_protocol_errors_total', reason), 1);
    if (lines.allows(reason)) logger.warn({ reason, peer }, 'a connection without a valid PROXY header');
  }
}

/** OpeningHost is what an opening needs of its address; implemented by Acceptor. */
export interface OpeningHost {
  /** Whose connections begin with a header. */
  readonly proxies: AddressRanges;
  readonly openingFailures: OpeningFailures;
  /** opened takes over the connection behind its header; the socket is paused. @param client the one that the header names */
  opened(opening: ProxyOpening, socket: Socket, client: ClientFacts): void;
}

/** ProxyOpening is made by Acceptor for each connection to such an address. */
export class ProxyOpening extends BaseConnection {
  readonly protocol = 'pending';
  readonly idle = true;
  override readonly isClient = false;
  readonly #socket: Socket;
  readonly #host: OpeningHost;
  #bytes: Buffer = Buffer.alloc(0);

  readonly #onData = (chunk: Buffer): void => this.#take(chunk);
  readonly #onEnd = (): void => this.#endedEarly();
  readonly #onError = (): void => undefined;
  readonly #onClose = (): void => this.leave();

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, host: OpeningHost) {
    super(client, owner);
    this.#socket = socket;
    this.#host = host;
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    this.arm(owner.plan.timeouts.headersMs);
  }

  /** start begins to read, where the server has admitted the connection. */
  start(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    if (!this.#host.proxies.has(this.client.address)) {
      this.#fail('stranger');
      return;
    }
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
  }

  get receiving(): boolean {
    return this.#bytes.length > 0;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  protected override onDue(): void {
    this.#fail('timeout');
  }

  #take(chunk: Buffer): void {
    if (this.#socket.destroyed) return;
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const result = readProxyHeader(this.#bytes);
    if (result.state === 'bad') this.#fail(result.problem);
    else if (result.state === 'done') this.#handOver(result.byteCount, result.ends);
  }

  /** A proxy looks by a connection without bytes whether anybody listens. */
  #endedEarly(): void {
    if (this.receiving) this.#fail('truncated');
    else this.destroy();
  }

  #fail(reason: OpeningProblem): void {
    this.#host.openingFailures.note(reason, this.client.address);
    this.destroy();
  }

  #handOver(headerBytes: number, ends: ConnectionEnds | null): void {
    const socket = this.#socket;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    this.forgetDeadline();
    // Paused, for a flowing socket would give the bytes to nobody.
    socket.pause();
    const rest = this.#bytes.subarray(headerBytes);
    if (rest.length > 0) socket.unshift(rest);
    this.#host.opened(this, socket, clientAt(this.client, ends));
    socket.off('error', this.#onError);
  }
}

/** Without ends the connection is the proxy's own. */
function clientAt(proxy: ClientFacts, ends: ConnectionEnds | null): ClientFacts {
  return ends?.remoteAddress === undefined ? proxy : { ...proxy, address: ends.remoteAddress, ends };
}
