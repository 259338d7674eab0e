/** Access lines: one JSON object per request, with every key, at most LINE_BYTES long. */
import type { AccessRecord } from './access-record.ts';
import {
  ms,
  pathText,
  policyList,
  SteadyPart,
  sameCaller,
  sameOrigin,
  sameOutcome,
  text,
  USER_AGENT_BYTES,
} from './access-text.ts';

/**
 * accessLine makes one line with its newline. It escapes what clients sent and cuts what is too long. It joins few pieces, because
 * V8 goes through all of them again when the line is written. `+` takes 0.40 µs a line, template literals 0.48.
 */
export function accessLine(record: AccessRecord): string {
  const { requestId, traceId } = record;
  const ids = traceId === null ? requestId + '","traceId":null' : requestId + '","traceId":"' + traceId + '"';
  const before = '{"time":"' + record.time + '","requestId":"' + ids + caller.of(record);
  const times = ms(record.totalMs) + ',"upstreamMs":' + ms(record.upstreamMs);
  const waits = ',"queueMs":' + ms(record.queueMs) + ',"limiterMs":' + ms(record.limiterMs);
  const after = outcome.of(record) + times + waits + ',"backend":' + text(record.backend) + origin.of(record);
  return before + pathText(record.path, before, after) + after;
}

/** Between the ids and the path. */
const caller = new SteadyPart(
  sameCaller,
  ({ clientIp, clientId, method, protocol, host }) =>
    `,"clientIp":${text(clientIp)},"clientId":${text(clientId)},` +
    `"method":${text(method)},"protocol":${text(protocol)},"host":${text(host)},"path":`,
);

/** Between the path and the times. */
const outcome = new SteadyPart(
  sameOutcome,
  ({ status, grpcStatus, reason, bytesIn, bytesOut }) =>
    `,"status":${status},"grpcStatus":${grpcStatus},"reason":"${reason}","bytesIn":${bytesIn},"bytesOut":${bytesOut},"totalMs":`,
);

/** From the backend to the end. */
const origin = new SteadyPart(
  sameOrigin,
  ({ attempts, route, policies, userAgent }) =>
    `,"attempts":${attempts},"route":${text(route)},"policies":${policyList(policies)},` +
    `"userAgent":${text(userAgent, USER_AGENT_BYTES)}}\n`,
);
