/** Our own engine: HTTP/1.1 on wires. */
import { createServer } from 'node:net';
import type { Wire, WireEvents } from '../../../contract/wire.ts';
import { PendingMemory } from '../../../http1/pending-bytes.ts';
import type { WireMaker } from '../../../infra/wire/wire.ts';
import { destroyIfGone } from '../base-connection.ts';
import type { Engine } from '../server.ts';
import { ClientConnection } from './client-connection.ts';

/** wireEngine is called once per worker. */
export function wireEngine(wires: WireMaker): Engine {
  const pendingMemory = new PendingMemory();
  // With this highWaterMark, node stops reading a paused socket once one read waits in it.
  const options = { allowHalfOpen: true, noDelay: true, highWaterMark: 1 };
  return (owner, { kind }) =>
    createServer(options, (socket) => {
      if (destroyIfGone(socket, kind)) return;
      const makeWire = (events: WireEvents): Wire => wires.accept(socket, events);
      owner.admit(new ClientConnection(socket.remoteAddress, owner, makeWire, pendingMemory));
    });
}
