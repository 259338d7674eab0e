/** The entrance to HTTP/2. */

import { FaultLog } from '../../../infra/logging/fault-log.ts';
import type { Logger } from '../../../infra/logging/logger.ts';
import type { WireMaker } from '../../../infra/wire/wire-maker.ts';
import type { WorkerMetrics } from '../../../infra/worker-metrics.ts';
import { PendingMemory } from '../../../memory/pending-bytes.ts';
import type { Engine } from '../server.ts';
import { ANSWERS_MAX_BYTES } from './answer-watch.ts';
import { ClientH2Connection } from './client-h2-connection.ts';
import { FLOOD_KINDS, type FloodKind } from './flood-guard.ts';

interface Http2EngineOptions {
  metrics: WorkerMetrics;
  logger: Logger;
  wires: WireMaker;
}

/** http2Engine is called once per worker. The engine is made when the first address has HTTP/2. */
export function http2Engine({ metrics, logger, wires }: Http2EngineOptions): Engine {
  return (owner) => {
    const cells = new Map(
      FLOOD_KINDS.map((kind) => [kind, metrics.series('sluice_http2_floods_total', kind)]),
    );
    const countFlood = (kind: FloodKind): void => metrics.add(cells.get(kind) ?? 0, 1);
    const answers = new PendingMemory(ANSWERS_MAX_BYTES);
    const bodies = new PendingMemory();
    const log = new FaultLog(owner.timer, (facts) =>
      logger.info(facts, 'HTTP/2 connection ended for what its client sent'),
    );
    const noteFault = (kind: string, clientIp: string): void => log.note(kind, { kind, clientIp });
    const shared = { wires, bodies, answers, countFlood, noteFault };
    return (socket, client) => new ClientH2Connection(socket, client, owner, shared);
  };
}
