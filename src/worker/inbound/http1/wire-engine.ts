/** Our own engine: HTTP/1.1 on wires. */
import type { Wire, WireEvents } from '../../../contract/wire.ts';
import type { WireMaker } from '../../../infra/wire/wire-maker.ts';
import { PendingMemory } from '../../../memory/pending-bytes.ts';
import type { Engine } from '../server.ts';
import { ClientConnection } from './client-connection.ts';

/** wireEngine is called once per worker. */
export function wireEngine(wires: WireMaker): Engine {
  const pendingMemory = new PendingMemory();
  return (owner) => (socket, client) => {
    const makeWire = (events: WireEvents): Wire => wires.accept(socket, events);
    return new ClientConnection(client, owner, makeWire, pendingMemory);
  };
}
