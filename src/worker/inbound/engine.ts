/** An engine makes the connections of clients: our own HTTP/1.1 on wires (wire/), or raw node:http (node/). */
import type { Server, Socket } from 'node:net';
import type { EngineName } from '../../contract/data-path.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import type { ConnectionOwner } from './base-connection.ts';

/** Engine is chosen once per worker. */
export interface Engine {
  readonly name: EngineName;
  /** makeServer makes the server of one listener, which does not listen yet. It passes each new connection to owner.admit first. */
  makeServer(owner: ConnectionOwner, kind: ListenAddress['kind']): Server;
}

/**
 * isGone tells whether the client reset its connection before it was accepted. Its bytes can still be read, but the system names
 * no address for it, as if it were on a Unix socket: limits and blocks by address would not hold for it.
 */
export function isGone(socket: Socket, kind: ListenAddress['kind']): boolean {
  return socket.remoteAddress === undefined && kind === 'tcp';
}
