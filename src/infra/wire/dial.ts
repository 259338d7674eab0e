/** Opens a connection to a backend: TCP, then a PROXY header, then TLS, each where it is due. */
import type { Socket } from 'node:net';
import { backendNames } from '../backend-names.ts';
import type { BackendTls } from './backend-tls.ts';

/** After this much silence the operating system asks a backend whether it is there. */
const KEEP_ALIVE_PROBE_MS = 30_000;

/** DialTarget is where a connection goes. */
export interface DialTarget {
  /** A name or an address; a name is resolved. */
  host: string;
  port: number;
  /** Absent or null: without TLS. */
  tls?: BackendTls | null | undefined;
  /** Leaves first, before TLS; latin1. '' or absent: none. */
  proxyHeader?: string | undefined;
  /** Default: the resolver of the data path. */
  lookup?: typeof backendNames.lookup;
}

/** DialEvents keeps nothing alive that is not meant to live as long as the connection. */
export interface DialEvents {
  /** The connection is open. @param socket over TLS the verified TLS socket, which has taken `tcp` over */
  onOpen(socket: Socket): void;
  /** An error of TLS, in words, at any time. Those of `tcp` are its owner's to hear. */
  onTlsError(error: Error): void;
}

/** dial begins to connect `tcp`, a new socket. Whoever destroys that one ends the attempt. */
export function dial(tcp: Socket, target: DialTarget, events: DialEvents): void {
  const { host, port, tls, proxyHeader = '', lookup = backendNames.lookup } = target;
  // `once`: a listener that stays would keep the header alive.
  tcp.once('connect', () => {
    // The kernel takes so few first bytes at once.
    if (proxyHeader !== '') tcp.write(proxyHeader, 'latin1');
    if (tls) secure(tcp, tls, events);
    else events.onOpen(tcp);
  });
  tcp.setNoDelay(true);
  tcp.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
  tcp.connect({ host, port, lookup });
}

function secure(tcp: Socket, tls: BackendTls, events: DialEvents): void {
  const socket = tls.start(tcp, () => events.onOpen(socket));
  socket.on('error', (error) => events.onTlsError(tls.explain(error)));
}
