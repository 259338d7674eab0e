/** The engine of our own: HTTP/1.1 on wires. */
import { createServer } from 'node:net';
import type { Wire, WireEvents, WireMaker } from '../../../infra/wire/wire.ts';
import { type Engine, isGone } from '../engine.ts';
import { ClientConnection } from './client-connection.ts';

/** node stops reading a paused socket only when so much waits in it: a client that is ahead gets no further than one read. */
const PAUSED_MAX_BYTES = 1;

/** wireEngine makes it; worker/data-plane.ts chooses between it and node's. */
export function wireEngine(wires: WireMaker): Engine {
  const pendingOfWorker = { bytes: 0 };
  return {
    name: 'wire',
    makeServer: (owner, onAccept, kind) => {
      const options = { allowHalfOpen: true, noDelay: true, highWaterMark: PAUSED_MAX_BYTES };
      return createServer(options, (socket) => {
        if (isGone(socket, kind)) {
          socket.destroy();
          return;
        }
        const makeWire = (events: WireEvents): Wire => wires.accept(socket, events);
        const connection = new ClientConnection(socket.remoteAddress, owner, makeWire, pendingOfWorker);
        if (!onAccept(connection)) connection.destroy();
      });
    },
  };
}
