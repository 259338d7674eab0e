/** What the primary does with messages of workers, beside what changes the state of their slot (workers/worker-slot.ts). */
import type { WorkerMessage } from '../contract/messages.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { MemoryBucketStore } from '../limit/store/memory-bucket-store.ts';
import type { AuditWriter } from './audit/audit-writer.ts';
import { answerTakes } from './buckets/answer-takes.ts';
import type { BackendHealth } from './health/backend-health.ts';
import type { MetricsCollector } from './metrics/metrics-collector.ts';
import type { ListenSockets } from './workers/listen-sockets.ts';
import type { RequestWatch } from './workers/request-watch.ts';
import type { WorkerLink } from './workers/worker-link.ts';

interface Receivers {
  collector: MetricsCollector;
  health: Pick<BackendHealth, 'registry' | 'ejections'>;
  memory: MemoryBucketStore;
  sockets: ListenSockets;
  requestWatch: RequestWatch;
  audit: Pick<AuditWriter, 'addRequests'>;
  logger: Logger;
  /** Called with the pid, once its counts were added. */
  onReport: (pid: number) => void;
  /** Whether the whole instance drains. */
  isDraining: () => boolean;
}

/** receiverOf makes the supervisor's `onMessage`; for PrimaryParts. */
export function receiverOf(receivers: Receivers): (link: WorkerLink, message: WorkerMessage) => void {
  const { collector, health, memory, sockets, requestWatch, audit, logger, onReport } = receivers;
  return (link, message) => {
    switch (message.type) {
      case 'report':
        collector.applyDelta(link.pid, message.report.metrics);
        onReport(link.pid);
        collector.noteExemplars(message.report.exemplars);
        break;
      case 'bucket-takes': {
        const replies = answerTakes(memory, logger, message.takes);
        link.send({ type: 'bucket-replies', id: message.id, replies });
        break;
      }
      case 'connect-failure':
        health.registry.recordConnectFailure(message.pool, message.backend, message.detail);
        break;
      case 'request-error':
        health.ejections.noteRequestError(message);
        break;
      case 'ready':
        sockets.dealer.add(link);
        requestWatch.tell(link);
        break;
      case 'watched-requests':
        requestWatch.receive(link.index, message);
        break;
      case 'request-rows':
        audit.addRequests(message);
        break;
      case 'connection-taken':
        sockets.dealer.taken(link);
        break;
      case 'spare-sockets':
        sockets.sendTo(link);
        break;
      case 'no-more-connections':
        void endDeal(link, receivers);
    }
  };
}

/** Answers a worker that is about to close its listeners: alone, or in the drain of the instance. */
async function endDeal(link: WorkerLink, { sockets, isDraining }: Receivers): Promise<void> {
  if (isDraining()) await sockets.letGo();
  sockets.dealer.remove(link);
  link.send({ type: 'no-more-connections' });
}
