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
import type { ConnectionOwner } from './base-connection.ts';
import { OpeningBytes } from './opening-bytes.ts';

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
export class ProxyOpening extends OpeningBytes {
  override readonly isClient = false;
  readonly #host: OpeningHost;

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, host: OpeningHost) {
    super(socket, client, owner);
    this.#host = host;
  }

  /** start begins to read, where the server has admitted the connection. */
  start(): void {
    if (this.socket.destroyed) return;
    if (this.#host.proxies.has(this.client.address)) this.read();
    else this.#fail('stranger');
  }

  protected override look(): void {
    const result = readProxyHeader(this.bytes);
    if (result.state === 'bad') this.#fail(result.problem);
    else if (result.state === 'done')
      this.handOver(result.byteCount, (socket) =>
        this.#host.opened(this, socket, clientAt(this.client, result.ends)),
      );
  }

  /** A proxy looks by a connection without bytes whether anybody listens. */
  protected override onEnded(): void {
    if (this.receiving) this.#fail('truncated');
    else this.destroy();
  }

  protected override onDue(): void {
    this.#fail('timeout');
  }

  #fail(reason: OpeningProblem): void {
    this.#host.openingFailures.note(reason, this.client.address);
    this.destroy();
  }
}

/** Without ends the connection is the proxy's own. */
function clientAt(proxy: ClientFacts, ends: ConnectionEnds | null): ClientFacts {
  return ends?.remoteAddress === undefined ? proxy : { ...proxy, address: ends.remoteAddress, ends };
}
