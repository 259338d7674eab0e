/**
 * Ends the TLS of clients at one address, with the certificates of one moment: a change makes a new terminator. Handshakes
 * under way go on with the old one.
 *
 * A tls.Server that never listens does the handshakes, because only a server of node checks client certificates by documented API.
 * It does not say to which accepted socket a TLSSocket belongs; the asynchronous context of the handshake does.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { constants, hash } from 'node:crypto';
import type { Socket } from 'node:net';
import {
  createSecureContext,
  createServer,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
} from 'node:tls';
import { toError } from '../../../contract/errors.ts';
import { HANDSHAKE_MS, type TlsAddress } from '../../../contract/tls.ts';
import { CertificateNames } from './certificate-names.ts';

/** HandshakeEvents is who waits for a handshake. It may hear of several failures. */
export interface HandshakeEvents {
  /** The client asked for a name of no certificate. The failure follows; until now nothing was sent to it. */
  onUnknownName(): void;
  /** The handshake is done, and nothing of the client's was read yet. */
  onSecure(socket: TLSSocket, clientAuth: TlsAddress['clientAuth']): void;
  onFailed(error: Error): void;
}

/** Node gives twice as long as we do: our own deadline counts from the accept. */
const NODE_TIMEOUT_MS = HANDSHAKE_MS * 2;

/** Contexts by certificate and options; a change of one certificate makes one context. */
export type ContextCache = Map<string, SecureContext>;

/** A certificate that OpenSSL refuses: its names get the default certificate, or none. */
export interface UnusableCertificate {
  names: string[];
  error: Error;
}

interface TerminatorOptions {
  /** 48 bytes. */
  ticketKeys: Buffer;
  /** In our order of preference. */
  alpn: string[];
  /** Contexts of the terminator before; afterwards those of this one. */
  made: ContextCache;
}

type Certificate = TlsAddress['certificates'][number];
type Answer = (error: Error | null, context?: SecureContext) => void;

/** The handshake that the running code is part of. */
const current = new AsyncLocalStorage<{ events: HandshakeEvents | null }>();

export class TlsTerminator {
  readonly #server: Server;
  readonly #names = new CertificateNames<SecureContext>();
  readonly #refusesUnknown: boolean;
  /** Those that this address leaves out. */
  readonly unusable: UnusableCertificate[] = [];

  /** Throws where clientCa cannot be used; the primary has tried it. */
  constructor(address: TlsAddress, { ticketKeys, alpn, made }: TerminatorOptions) {
    const { minVersion, clientAuth, clientCa } = address;
    const common = {
      minVersion,
      sessionIdContext: sessionIdContextOf(address),
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      ...(clientCa !== null && { ca: clientCa }),
    };
    const [first, ...others] = this.#addCertificates(address, common, made);
    this.#refusesUnknown = address.unknownNames === 'refuse';
    const mayDiffer = this.#refusesUnknown || others.length > 0;
    this.#server = createServer({
      ...common,
      ...(first !== undefined && { cert: first.cert, key: first.key }),
      ticketKeys,
      ALPNProtocols: alpn,
      // node interrupts a handshake to ask: not where there is nothing to choose.
      ...(mayDiffer && { SNICallback: (name: string, answer: Answer) => this.#choose(name, answer) }),
      requestCert: clientAuth !== 'off',
      rejectUnauthorized: clientAuth === 'require',
      handshakeTimeout: NODE_TIMEOUT_MS,
    });
    this.#server.on('secureConnection', (socket) => takeEvents()?.onSecure(socket, clientAuth));
    this.#server.on('tlsClientError', (error) => takeEvents()?.onFailed(error));
  }

  /** @returns those that OpenSSL takes: one that it refuses must not take the others down */
  #addCertificates(address: TlsAddress, common: SecureContextOptions, made: ContextCache): Certificate[] {
    const { certificates, minVersion, clientAuth, clientCa } = address;
    const before = new Map(made);
    made.clear();
    return certificates.filter(({ names, cert, key }) => {
      const id = JSON.stringify([cert, key, minVersion, clientAuth, clientCa]);
      try {
        const context = before.get(id) ?? createSecureContext({ ...common, cert, key });
        made.set(id, context);
        for (const name of names) this.#names.add(name, context);
        return true;
      } catch (thrown) {
        this.unusable.push({ names, error: toError(thrown) });
        return false;
      }
    });
  }

  /** start begins a handshake on an accepted socket, which node's TLSSocket owns from now on. */
  start(socket: Socket, events: HandshakeEvents): void {
    current.run({ events }, () => this.#server.emit('connection', socket));
  }

  /** Called within a handshake; must not throw. Without a context the client gets the default certificate. */
  #choose(name: string, answer: Answer): void {
    const found = this.#names.find(name);
    if (found !== undefined || !this.#refusesUnknown) answer(null, found);
    else {
      current.getStore()?.events?.onUnknownName();
      answer(new Error('no certificate has this name'));
    }
  }
}

/**
 * A session is resumed only where its context is the same: OpenSSL does not verify the certificate again that its client has shown. So
 * it holds for all addresses that ask for certificates of the same authorities in the same way, and not after a change of these.
 */
function sessionIdContextOf({ clientAuth, clientCa }: TlsAddress): string {
  // OpenSSL takes 32 bytes at most.
  return hash('sha256', JSON.stringify([clientAuth, clientCa])).slice(0, 32);
}

/** The context lives as long as the connection, and must not keep what has only to do with the handshake. */
function takeEvents(): HandshakeEvents | null {
  const store = current.getStore();
  const events = store?.events ?? null;
  if (store !== undefined) store.events = null;
  return events;
}
