/** Where wires (contract/wire.ts) come from. */
import type { Socket } from 'node:net';
import type { WireName } from '../../contract/data-path.ts';
import type { Wire, WireEvents } from '../../contract/wire.ts';
import type { DialTarget } from './dial.ts';

export interface ConnectEvents extends WireEvents {
  /** The connection is open (over TLS: verified), writes may begin. If it cannot be opened, onBroken is called instead. */
  onConnect(): void;
}

/** WireMaker makes all wires of a process. */
export interface WireMaker {
  readonly name: WireName;
  /** accept takes over an open socket with allowHalfOpen, or a TLSSocket whose handshake is over. Nobody else may use it. */
  accept(socket: Socket, events: WireEvents): Wire;
  /** connect opens a connection to a backend. */
  connect(target: DialTarget, events: ConnectEvents): Wire;
}
