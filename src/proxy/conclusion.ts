/** What is left of a request at its end: its counts and its access line. */
import { failureOf } from '../contract/request-failure.ts';
import { type AccessRecord, isSampled, loggedPath, protocolOf } from './access-record.ts';
import type { Admission } from './admission.ts';
import type { Attempts } from './attempts.ts';
import type { DateCache } from './date-cache.ts';
import type { LiveRequests } from './live-requests.ts';
import type { Plan } from './plan.ts';
import type { RequestAudit } from './request-audit.ts';
import type { RequestBody } from './request-body.ts';
import { type RouteCounters, requestNumber, type TrafficStats } from './request-stats.ts';

/** ConclusionDeps is made once per worker. */
export interface ConclusionDeps {
  traffic: TrafficStats;
  dates: DateCache;
  /** Writes the line of a request, whatever its plan, in the form of the log. */
  accessLog: { write(record: AccessRecord): void };
  live: LiveRequests;
  audit: RequestAudit;
}

/** describe writes into the record what is known of the request and of its attempts. */
export function describe(
  record: AccessRecord,
  { head, peer, caller, route, host, target }: Admission,
  body: RequestBody | null,
  attempts: Attempts | null,
): void {
  record.clientIp = caller?.clientIp ?? peer.address;
  record.clientId = caller?.clientId ?? null;
  record.protocol = protocolOf(head);
  record.host = host || null;
  record.path = loggedPath(target);
  record.route = route?.name ?? null;
  record.userAgent = head.userAgent;
  record.bytesIn = body?.receivedBytes ?? 0;
  if (attempts === null) return;
  record.attempts = attempts.count;
  record.queueMs = attempts.queueMs;
  if (attempts.current === null) return;
  record.upstreamMs = attempts.current.upstreamMs;
  record.backend = attempts.current.target.backend.id;
}

/** conclude counts a request that is over and writes its access line; also for bytes that never became a request. */
export function conclude(record: AccessRecord, stats: RouteCounters, plan: Plan, deps: ConclusionDeps): void {
  count(record, stats, deps.traffic);
  writeLine(record, plan, deps);
}

/** count alone is for a request that has become a tunnel. */
export function count(record: AccessRecord, stats: RouteCounters, traffic: TrafficStats): void {
  // What never became a request has no duration: only the patience of who sends no head, or sends it slowly.
  const durationMs = record.protocol === null ? null : record.totalMs;
  stats.count(requestNumber(record.method, record.status, record.grpcStatus), durationMs);
  if (failureOf(record) === 'server') stats.countFailure(record.reason);
  traffic.end(record.bytesIn, record.bytesOut);
}

/** writeLine alone is for the end of a tunnel. */
export function writeLine(
  record: AccessRecord,
  plan: Plan,
  { dates, accessLog, live, audit }: Omit<ConclusionDeps, 'traffic'>,
): void {
  const isLogged = isSampled(plan.accessLog);
  const isAudited = plan.audited !== 'off' && (plan.audited === 'all' || isLimited(record));
  if (!isLogged && !isAudited && !live.isWatched) return;
  record.time = dates.isoTime();
  if (isLogged) accessLog.write(record);
  if (isAudited) audit.note(record, plan.audited);
  if (live.isWatched) live.offer(record);
}

function isLimited({ reason }: AccessRecord): boolean {
  return reason === 'limited' || reason === 'cost_above_capacity';
}
