/** Our own engine: HTTP/1.1 on wires. */
import { createServer } from 'node:net';
import type { Wire, WireEvents, WireMaker } from '../../../infra/wire/wire.ts';
import { type Engine, isGone } from '../engine.ts';
import { ClientConnection } from './client-connection.ts';

/** node stops reading a paused socket once this much waits in it: one read at most. */
const PAUSED_MAX_BYTES = 1;

/** wireEngine is called once per worker. */
export function wireEngine(wires: WireMaker): Engine {
  const pendingOfWorker = { bytes: 0 };
  return {
    name: 'wire',
    makeServer: (owner, kind) => {
      const options = { allowHalfOpen: true, noDelay: true, highWaterMark: PAUSED_MAX_BYTES };
      return createServer(options, (socket) => {
        if (isGone(socket, kind)) {
          socket.destroy();
          return;
        }
        const makeWire = (events: WireEvents): Wire => wires.accept(socket, events);
        const connection = new ClientConnection(socket.remoteAddress, owner, makeWire, pendingOfWorker);
        if (!owner.admit(connection)) connection.destroy();
      });
    },
  };
}
