/** The parts of the primary that the calls of the admin port read and change; primary/primary-parts.ts passes them. */
import type { Logger } from '../../infra/logging/logger.ts';
import type { AuditWriter } from '../audit/audit-writer.ts';
import type { OperatorBuckets } from '../buckets/operator-buckets.ts';
import type { PrimaryDirectory } from '../clients/primary-directory.ts';
import type { EventLog } from '../events/event-log.ts';
import type { BackendHealth } from '../health/backend-health.ts';
import type { HealthRegistry } from '../health/health-registry.ts';
import type { PrimaryGauges } from '../metrics/gauges.ts';
import type { Reloader } from '../reloader.ts';
import type { DegradedSources } from '../status/degraded.ts';
import type { StatusBoard } from '../status/status-board.ts';
import type { Explainer } from '../workers/explainer.ts';
import type { LastSeen } from '../workers/last-seen.ts';
import type { RequestWatch } from '../workers/request-watch.ts';
import type { Roll } from '../workers/rolling-replacement.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import type { TopCallers } from '../workers/top-callers.ts';
import type { TunnelList } from '../workers/tunnel-list.ts';

/** Phase is the state of the primary as a whole; see primary/main.ts. */
export type Phase = 'starting' | 'ready' | 'draining';

export interface AdminParts {
  logger: Logger;
  events: Pick<EventLog, 'record' | 'entries' | 'since'>;
  board: Pick<StatusBoard, 'status' | 'live' | 'history' | 'backend' | 'queueRefusedPerSec' | 'onSample'>;
  directory: {
    clients: Pick<PrimaryDirectory['clients'], 'list' | 'get' | 'create' | 'put' | 'patch' | 'remove'>;
    apiKeys: Pick<PrimaryDirectory['apiKeys'], 'issue' | 'list' | 'revoke'>;
    whenTold: PrimaryDirectory['whenTold'];
    feed: { degraded: boolean; table: Pick<PrimaryDirectory['feed']['table'], 'get' | 'longestRange'> };
  };
  registry: Pick<HealthRegistry, 'state' | 'setEnabled' | 'lossOf'>;
  health: Pick<BackendHealth, 'save'>;
  supervisor: Pick<Supervisor, 'workers' | 'counts'>;
  reloader: Pick<Reloader, 'current' | 'reload' | 'look' | 'setLogLevel'>;
  gauges: Pick<PrimaryGauges, 'text' | 'countAdminRequest'>;
  buckets: Pick<OperatorBuckets, 'of' | 'reset'>;
  store: DegradedSources['store'];
  /** null: a rolling replacement is under way already, or the instance stops. */
  replaceWorkers: () => Roll | null;
  tunnels: Pick<TunnelList, 'page'>;
  explainer: Pick<Explainer, 'explain'>;
  topCallers: Pick<TopCallers, 'top'>;
  lastSeen: Pick<LastSeen, 'of'>;
  requestWatch: Pick<RequestWatch, 'open'>;
  audit: Pick<AuditWriter, 'whenWritten'> & {
    events: Pick<AuditWriter['events'], 'page'>;
    requests: Pick<AuditWriter['requests'], 'page'>;
  };
  phase: () => Phase;
}
