/** Where wires (contract/wire.ts) come from. */
import { isIP, type Socket } from 'node:net';
import type { WireName } from '../../contract/data-path.ts';
import type { Wire, WireEvents } from '../../contract/wire.ts';
import type { BackendTls } from './backend-tls.ts';

export interface ConnectEvents extends WireEvents {
  /** The connection is open (over TLS: verified), writes may begin. If it cannot be opened, onBroken is called instead. */
  onConnect(): void;
}

/** ConnectTarget is where a wire to a backend goes. */
export interface ConnectTarget {
  /** A name or an address; a name is resolved. */
  host: string;
  port: number;
  /** Absent: without TLS. */
  tls?: BackendTls | undefined;
  /** Leaves first, before TLS; latin1. '' or absent: none. */
  proxyHeader?: string | undefined;
}

/** WireMaker makes all wires of a process. */
export interface WireMaker {
  readonly name: WireName;
  /** accept takes over a socket that a server with allowHalfOpen, without pauseOnConnect, has just accepted. Nobody else may use it. */
  accept(socket: Socket, events: WireEvents): Wire;
  /** connect opens a connection to a backend. */
  connect(target: ConnectTarget, events: ConnectEvents): Wire;
}

/** resetOrDestroy closes a socket by a RST where the transport allows it (TCP without TLS), else without. */
export function resetOrDestroy(socket: Socket): void {
  // node cannot reset while a FIN waits behind unsent bytes: it would leave the connection open for ever.
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else if (isIP(socket.remoteAddress ?? '') !== 0 && !('encrypted' in socket)) socket.resetAndDestroy();
  else socket.destroy();
}
