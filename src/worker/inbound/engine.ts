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

/** isGone: the client reset the TCP connection before it was accepted. It has no address, so no limit by address would hold. */
export function isGone(socket: Socket, kind: ListenAddress['kind']): boolean {
  return socket.remoteAddress === undefined && kind === 'tcp';
}
