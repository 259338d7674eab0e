/** The entrance to HTTP/2. This folder is loaded only where an address can have it: node:http2 takes 15 MiB. */
import type { Socket } from 'node:net';
import type { WorkerMetrics } from '../../../infra/worker-metrics.ts';
import type { ConnectionOwner } from '../base-connection.ts';
import { ClientSession } from './client-session.ts';
import { FLOOD_KINDS } from './flood-guard.ts';

/** Http2Acceptor begins HTTP/2 on a socket whose client has chosen it; what was read of it before was put back (unshift). */
export type Http2Acceptor = (socket: Socket, owner: ConnectionOwner) => void;

/** http2Acceptor is called once per worker. */
export function http2Acceptor(metrics: WorkerMetrics): Http2Acceptor {
  const cells = new Map(FLOOD_KINDS.map((kind) => [kind, metrics.series('sluice_http2_floods_total', kind)]));
  return (socket, owner) => {
    if (socket.destroyed) return;
    owner.admit(new ClientSession(socket, owner, (kind) => metrics.add(cells.get(kind) ?? 0, 1)));
  };
}
