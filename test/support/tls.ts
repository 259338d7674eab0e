/** TLS with clients: what a worker is given, and clients that speak it. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { ListenSettings } from '../../src/contract/settings.ts';
import type { TlsAddress, TlsMaterial } from '../../src/contract/tls.ts';
import { Authority, type Certificate } from './certificates.ts';
import { RawClient } from './raw-http.ts';
import { waitFor, within } from './wait.ts';

/** The settings of an address with TLS. Workers read no files: what counts is the material. */
export const TLS_SETTINGS: NonNullable<ListenSettings['tls']> = {
  certificates: [],
  acme: [],
  unknownNames: 'default',
  minVersion: 'TLSv1.2',
  clientAuth: 'off',
  clientCa: null,
};

/** The key of the address that test/proxy/support.ts opens. */
export const TLS_KEY = '127.0.0.1:0';

/** tlsAddress is the TLS of that address: certificates with their names, the first is the default. */
export function tlsAddress(
  certificates: [names: string[], certificate: Certificate][],
  more: Partial<TlsAddress> = {},
): TlsAddress {
  return {
    address: TLS_KEY,
    certificates: certificates.map(([names, { cert, key }]) => ({ names, cert, key })),
    unknownNames: 'default',
    minVersion: 'TLSv1.2',
    clientAuth: 'off',
    clientCa: null,
    ...more,
  };
}

/** tlsMaterial is what a worker gets for one address. */
export function tlsMaterial(address: TlsAddress, ticketKeys = Buffer.alloc(48, 1)): TlsMaterial {
  return { ticketKeys: ticketKeys.toString('base64'), addresses: [address] };
}

let local: { authority: Authority; certificate: Certificate } | null = null;

/** localTls is TLS with a certificate for localhost, and the authority behind it; made once per process. */
export function localTls(more: Partial<TlsAddress> = {}): { ca: string; tls: TlsAddress } {
  if (local === null) {
    const authority = new Authority();
    local = { authority, certificate: authority.issue(['localhost', '127.0.0.1']) };
  }
  const { authority, certificate } = local;
  return { ca: authority.root.cert, tls: tlsAddress([[['localhost', '127.0.0.1'], certificate]], more) };
}

/** secureSocket does a handshake. Rejects with the error where it fails. */
export async function secureSocket(options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    allowHalfOpen: true,
    rejectUnauthorized: false,
    ...options,
  } as ConnectionOptions);
  // A server that ends in the middle of a handshake shows no error to a client that allows a half-open connection.
  const ended = once(socket, 'end').then(() => Promise.reject(new Error('the server ended the handshake')));
  ended.catch(() => undefined);
  try {
    await within(Promise.race([once(socket, 'secureConnect'), ended]), 10_000, 'a handshake');
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** secureClient is a client that sends exactly the given bytes over TLS. */
export async function secureClient(options: ConnectionOptions): Promise<RawClient> {
  return new RawClient((await secureSocket(options)) as Socket);
}

/** Asked is how a client fared. */
export interface Asked {
  /** Status line and body of the answer; '' without one. */
  answer: string;
  resumed: boolean;
  /** The session that a later handshake may resume. */
  session: Buffer | undefined;
}

/** ask does a handshake and a request. */
export async function ask(options: ConnectionOptions): Promise<Asked> {
  const socket = await secureSocket(options).catch(() => null);
  if (socket === null) return { answer: '', resumed: false, session: undefined };
  const resumed = socket.isSessionReused();
  // Tickets of TLS 1.2 come in the handshake, those of TLS 1.3 after it and before the answer.
  let session: Buffer | undefined = socket.getProtocol() === 'TLSv1.2' ? socket.getSession() : undefined;
  socket.on('session', (ticket: Buffer) => {
    session = ticket;
  });
  const client = new RawClient(socket as Socket);
  client.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  await waitFor('the end', () => client.ended || client.closed);
  client.close();
  const text = String(client.received);
  return {
    answer: text === '' ? '' : `${text.split('\r\n')[0]} ${text.split('\r\n\r\n')[1]}`,
    resumed,
    session,
  };
}
