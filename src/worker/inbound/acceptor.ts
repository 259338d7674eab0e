/**
 * The way of a client's connection from accept to the protocol that serves it. It is one of the server's connections from
 * the first step on:
 *
 * 1. destroyIfGone
 * 2. with proxyProtocol the PROXY header (proxy-header-wait.ts)
 * 3. under TLS the handshake (tls/handshake.ts), and ALPN; with h2c the first bytes (protocol-detection.ts)
 * 4. a ServeConnection: HTTP/1.1 (http1/ or node/) or HTTP/2 (h2/)
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import type { ClientFacts } from '../../contract/downstream.ts';
import type { ListenSettings } from '../../contract/settings.ts';
import type { TlsAddress } from '../../contract/tls.ts';
import { AddressRanges } from '../../infra/address-ranges.ts';
import {
  type BaseConnection,
  type ConnectionOwner,
  clientOf,
  destroyIfGone,
  type Entrance,
  type ServeConnection,
} from './base-connection.ts';
import { ProtocolDetection } from './protocol-detection.ts';
import type { ProxyHeaderFailures } from './proxy-header-failures.ts';
import { type ProxyHeaderHost, ProxyHeaderWait } from './proxy-header-wait.ts';
import { Handshake, type HandshakeHost } from './tls/handshake.ts';
import type { HandshakeTracker } from './tls/handshake-tracker.ts';
import { type ContextCache, TlsTerminator, type UnusableCertificate } from './tls/terminator.ts';

/** Protocols are those that a worker serves. */
export interface Protocols {
  http1: ServeConnection;
  /** null as long as no address has had HTTP/2. */
  h2: ServeConnection | null;
}

interface AcceptorOptions {
  address: ListenSettings;
  owner: ConnectionOwner;
  protocols: Protocols;
  handshakes: HandshakeTracker;
  proxyHeaderFailures: ProxyHeaderFailures;
}

/** Acceptor is made by InboundServer for each address. */
export class Acceptor implements Entrance, HandshakeHost, ProxyHeaderHost {
  readonly handshakes: HandshakeTracker;
  readonly proxyHeaderFailures: ProxyHeaderFailures;
  proxies: AddressRanges;
  gone = false;
  readonly #options: AcceptorOptions;
  #address: ListenSettings;
  readonly #contexts: ContextCache = new Map();
  terminator: TlsTerminator | null = null;

  constructor(options: AcceptorOptions) {
    this.#options = options;
    this.#address = options.address;
    this.handshakes = options.handshakes;
    this.proxyHeaderFailures = options.proxyHeaderFailures;
    this.proxies = new AddressRanges(options.address.proxyProtocol ?? []);
  }

  /** configure takes the options of the address for connections from now on. @returns whether there is any change */
  configure(address: ListenSettings): boolean {
    if (isDeepStrictEqual(address, this.#address)) return false;
    this.#address = address;
    this.proxies = new AddressRanges(address.proxyProtocol ?? []);
    return true;
  }

  /**
   * useTls takes the certificates and ticket keys for handshakes from now on. See TlsTerminator, also for errors.
   * @returns the certificates that are left out
   */
  useTls(tls: TlsAddress, ticketKeys: Buffer): readonly UnusableCertificate[] {
    const { protocols } = this.#options;
    // The preferred one first.
    const alpn = this.#address.http2 && protocols.h2 !== null ? ['h2', 'http/1.1'] : ['http/1.1'];
    const terminator = new TlsTerminator(tls, { ticketKeys, alpn, made: this.#contexts });
    const { unusable } = terminator;
    this.terminator = unusable.length === tls.certificates.length ? null : terminator;
    return unusable;
  }

  /** accept is given each accepted socket, in the turn in which it came. */
  accept(socket: Socket): void {
    const { owner } = this.#options;
    const address = this.#address;
    if (destroyIfGone(socket, address.kind)) return;
    const client = clientOf(socket, owner.timer.monotonicMs());
    if (address.proxyProtocol === null) {
      owner.admit(this.#begin(socket, client), this);
      return;
    }
    const wait = new ProxyHeaderWait(socket, client, owner, this);
    owner.admit(wait, this);
    wait.start();
  }

  headerRead(wait: ProxyHeaderWait, socket: Socket, client: ClientFacts): void {
    const { owner } = this.#options;
    owner.replace(wait, this.#begin(socket, client));
    // A handshake reads by itself.
    if (this.#address.tls === null) socket.resume();
  }

  #begin(socket: Socket, client: ClientFacts): BaseConnection {
    const { owner, protocols } = this.#options;
    const { http1, h2 } = protocols;
    const address = this.#address;
    if (address.tls !== null) return new Handshake(socket, client, owner, this);
    return address.h2c && h2 !== null
      ? new ProtocolDetection(socket, client, owner, { http1, h2 })
      : http1(socket, client);
  }

  secured(handshake: Handshake, socket: TLSSocket, client: ClientFacts): void {
    const { owner, protocols } = this.#options;
    // A client without ALPN speaks HTTP/1.1.
    const serve = (socket.alpnProtocol === 'h2' && protocols.h2) || protocols.http1;
    owner.replace(handshake, serve(socket, client));
  }
}
