/**
 * A connection at an address with `proxyProtocol`, from accept until its PROXY header has come. It begins to read at once, takes
 * exactly the header's bytes and puts back the others. What does not begin with a header is closed without an answer: whoever
 * speaks there is a proxy, or pretends to be one.
 */
import type { Socket } from 'node:net';
import type { ClientFacts, ConnectionEnds } from '../../contract/downstream.ts';
import type { AddressRanges } from '../../infra/address-ranges.ts';
import { readProxyHeader } from '../../infra/proxy-protocol/proxy-header-reader.ts';
import type { ConnectionOwner } from './base-connection.ts';
import type { ProxyHeaderFailures, ProxyHeaderProblem } from './proxy-header-failures.ts';
import { UndecidedConnection } from './undecided-connection.ts';

/** ProxyHeaderHost is what the wait needs of its address; implemented by Acceptor. */
export interface ProxyHeaderHost {
  /** Whose connections begin with a header. */
  readonly proxies: AddressRanges;
  readonly proxyHeaderFailures: ProxyHeaderFailures;
  /** headerRead takes over the connection behind its header; the socket is paused. @param client the one that the header names */
  headerRead(wait: ProxyHeaderWait, socket: Socket, client: ClientFacts): void;
}

/** ProxyHeaderWait is made by Acceptor for each connection to such an address. */
export class ProxyHeaderWait extends UndecidedConnection {
  override readonly isClient = false;
  readonly #host: ProxyHeaderHost;

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, host: ProxyHeaderHost) {
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
        this.#host.headerRead(this, socket, clientAt(this.client, result.ends)),
      );
  }

  /** A proxy checks by a connection without bytes that the port is open. */
  protected override onEnded(): void {
    if (this.receiving) this.#fail('truncated');
    else this.destroy();
  }

  protected override onDue(): void {
    this.#fail('timeout');
  }

  #fail(reason: ProxyHeaderProblem): void {
    this.#host.proxyHeaderFailures.note(reason, this.client.address);
    this.destroy();
  }
}

/** Without ends the connection is the proxy's own. */
function clientAt(proxy: ClientFacts, ends: ConnectionEnds | null): ClientFacts {
  return ends?.remoteAddress === undefined ? proxy : { ...proxy, address: ends.remoteAddress, ends };
}
