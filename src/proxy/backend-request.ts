/**
 * What a backend gets of an admitted request, and what becomes of its body first: it is kept where the request may be sent twice, and
 * gathered where it would occupy a backend that others need.
 */
import { areBusy } from '../balance/backend.ts';
import type { Downstream } from '../contract/downstream.ts';
import { KeptBody, mayGather } from '../upstream/kept-body.ts';
import type { UpstreamRequest } from '../upstream/upstream-request.ts';
import type { AccessRecord } from './access-record.ts';
import type { Admission } from './admission.ts';
import { backendLines } from './forwarded-headers.ts';
import type { PlannedPool } from './plan-pool.ts';
import { mayRepeat } from './retry-policy.ts';
import type { Trace } from './trace.ts';

/**
 * backendRequestOf is called by the transaction, once for each request that it forwards. It writes the trace into the record.
 * @returns with a `kept` that waits where the body is to be gathered before a backend is looked for
 */
export function backendRequestOf(
  admission: Admission,
  pool: Pick<PlannedPool, 'byBackend' | 'mayGiveBack' | 'retry'>,
  downstream: Pick<Downstream, 'client' | 'bodyIsHere'>,
  record: AccessRecord,
  trace: Trace,
): UpstreamRequest {
  const { head, target, bodyLength, upgrade, isGrpc } = admission;
  record.traceId = trace.traceId;
  const { certSubject, ends } = downstream.client;
  const headerLines = backendLines(admission, certSubject, record.requestId, trace);
  const { method, hasBody } = head;
  const isLate = hasBody && !downstream.bodyIsHere && mayGather(bodyLength);
  const gathers = isLate && areBusy(pool.byBackend.keys());
  const keeps = hasBody && (gathers || pool.mayGiveBack || mayRepeat(method, pool.retry));
  const kept = keeps ? new KeptBody() : null;
  if (gathers) kept?.wait();
  return { method, target, headerLines, bodyLength, upgrade, ends, isGrpc, kept };
}
