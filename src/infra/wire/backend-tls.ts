/**
 * TLS of the connections to one backend. The certificate must be for the name in the configuration, whatever address that name
 * resolves to. One session is kept, the newest: it is valid for this name, these authorities and this certificate of ours only.
 */
import { isIP, type Socket } from 'node:net';
import {
  type ConnectionOptions,
  checkServerIdentity,
  connect,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { systemCodeOf } from '../../contract/errors.ts';
import type { PoolTlsSettings } from '../../contract/pool-settings.ts';

/** How the message of an explained error begins. */
export const TLS_PREFIX = 'TLS: ';

const NO_AUTHORITY = 'the authority that signed the certificate is not trusted';
const NO_H2 = 'the backend does not speak HTTP/2 over TLS (ALPN)';
const NO_TLS = 'what answers does not speak TLS';

/** What failed, by the code of node's error. */
const PROBLEMS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'the certificate has expired',
  CERT_NOT_YET_VALID: 'the certificate is not valid yet',
  DEPTH_ZERO_SELF_SIGNED_CERT: NO_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: NO_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: NO_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: NO_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: NO_AUTHORITY,
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
};

type Pem = string | undefined;
interface SharedContext {
  pems: readonly [ca: Pem, cert: Pem, key: Pem];
  context: WeakRef<SecureContext>;
}

/** Those of all BackendTls of this process; of contexts that none has any more an entry stays until the next one is made. */
let sharedContexts: SharedContext[] = [];

/**
 * Backends with the same files share a context, also over reloads. With the authorities of a system it takes 9 ms to make and 1 MiB that
 * V8 does not see. Equal files of one pool are one string, so they are found without a comparison of their text.
 */
function contextOf(ca: Pem, cert: Pem, key: Pem): SecureContext {
  const pems = [ca, cert, key] as const;
  const shared = sharedContexts.find((each) => each.pems.every((pem, i) => pem === pems[i]))?.context.deref();
  if (shared !== undefined) return shared;
  const context = createSecureContext({ ca, cert, key, minVersion: 'TLSv1.2' });
  sharedContexts = sharedContexts.filter((each) => each.context.deref() !== undefined);
  sharedContexts.push({ pems, context: new WeakRef(context) });
  return context;
}

/** BackendTls is made once per backend whose URL begins with `https://`: by a worker for requests, by the primary for probes. */
export class BackendTls {
  readonly #name: string;
  readonly #options: ConnectionOptions;
  readonly #resumes: boolean;
  readonly #protocol: string;
  #session: Buffer | undefined;

  /**
   * @param host that of the backend's URL
   * @param options resume: false where each handshake must show the certificate; protocol: what is asked for by ALPN; `h2`
   * must be chosen
   */
  constructor(
    host: string,
    settings: PoolTlsSettings,
    { resume = true, protocol = 'http/1.1' }: { resume?: boolean; protocol?: 'http/1.1' | 'h2' } = {},
  ) {
    const { ca, cert, key, serverName, verify } = settings;
    this.#name = serverName ?? host;
    this.#resumes = resume;
    this.#protocol = protocol;
    this.#options = {
      secureContext: contextOf(ca?.pem, cert?.pem, key?.pem),
      ALPNProtocols: [protocol],
      rejectUnauthorized: verify,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(this.#name, certificate),
    };
    // An IP address is no name for SNI (RFC 6066 §3).
    if (isIP(this.#name) === 0) this.#options.servername = this.#name;
  }

  /**
   * start begins the handshake on a TCP connection that has just opened. A failure is an `error` of the TLS socket, which `explain`
   * turns into words. @param onSecure called once the certificate is verified
   */
  start(tcp: Socket, onSecure: () => void): TLSSocket {
    const session = this.#resumes ? this.#session : undefined;
    const socket = connect({ ...this.#options, socket: tcp, ...(session && { session }) });
    let isOpen = false;
    socket.once('secureConnect', () => {
      isOpen = true;
      if (this.#protocol === 'h2' && socket.alpnProtocol !== 'h2') socket.destroy(new Error(NO_H2));
      else onSecure();
    });
    if (this.#resumes) socket.on('session', (next: Buffer) => (this.#session = next));
    socket.on('error', () => {
      // Perhaps the backend cannot cope with the session.
      if (!isOpen && this.#session === session) this.#session = undefined;
    });
    return socket;
  }

  /** explain says what failed where node's error is one of TLS; else it returns the error. */
  explain(error: Error): Error {
    const code = systemCodeOf(error) ?? '';
    const problem = this.#problemOf(error, code);
    if (problem === undefined) return error;
    return Object.assign(new Error(`${TLS_PREFIX}${problem} (${code})`, { cause: error }), { code });
  }

  #problemOf(error: Error, code: string): string | undefined {
    if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `the certificate is not for ${this.#name}`;
    // OpenSSL's words, such as `tlsv1 alert protocol version`.
    const { reason } = error as { reason?: unknown };
    return PROBLEMS[code] ?? (typeof reason === 'string' && code.startsWith('ERR_SSL_') ? reason : undefined);
  }
}
