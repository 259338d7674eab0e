/** The entrance to HTTP/2. This folder is loaded only where an address can have it: node:http2 takes 15 MiB. */
import { PendingMemory } from '../../../http1/pending-bytes.ts';
import type { WorkerMetrics } from '../../../infra/worker-metrics.ts';
import type { Engine } from '../server.ts';
import { ANSWERS_MAX_BYTES } from './answer-watch.ts';
import { FLOOD_KINDS, type FloodKind } from './flood-guard.ts';
import { Http2Connection } from './http2-connection.ts';

/** http2Engine is called once per worker. */
export function http2Engine(metrics: WorkerMetrics): Engine {
  const cells = new Map(FLOOD_KINDS.map((kind) => [kind, metrics.series('sluice_http2_floods_total', kind)]));
  const countFlood = (kind: FloodKind): void => metrics.add(cells.get(kind) ?? 0, 1);
  const shared = { bodies: new PendingMemory(), answers: new PendingMemory(ANSWERS_MAX_BYTES), countFlood };
  return (owner) => (socket, client) => new Http2Connection(socket, client, owner, shared);
}
