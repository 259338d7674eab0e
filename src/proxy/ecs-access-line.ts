/**
 * Access lines of `log.format: ecs`: names of the Elastic Common Schema, version ECS_VERSION, and what it has no name for below
 * `sluice`. Dots stand for levels, which Elasticsearch and its shippers read as such.
 */
import { UNIX_PEER } from '../contract/addresses.ts';
import { failureOf } from '../contract/request-failure.ts';
import { ECS_VERSION } from '../infra/logging/ecs.ts';
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

/** ecsAccessLine makes one line with its newline, as accessLine does. */
export function ecsAccessLine(record: AccessRecord): string {
  const { requestId, traceId } = record;
  const ids =
    traceId === null ? requestId + '","trace.id":null' : requestId + '","trace.id":"' + traceId + '"';
  const before =
    '{"@timestamp":"' + record.time + '","log.level":"info","http.request.id":"' + ids + caller.of(record);
  const times = ns(record.totalMs) + ',"sluice.upstream_ms":' + ms(record.upstreamMs);
  const waits = ',"sluice.queue_ms":' + ms(record.queueMs) + ',"sluice.limiter_ms":' + ms(record.limiterMs);
  const backend = ',"sluice.backend":' + text(record.backend);
  const after = outcome.of(record) + times + waits + backend + origin.of(record);
  return before + pathText(record.path, before, after) + after;
}

/** As `protocol` of the other format. */
const HTTP_VERSIONS: Readonly<Record<string, string>> = { 'http/1.0': '1.0', 'http/1.1': '1.1', h2: '2' };
const NAME_AND_PORT = /^(.*?)(?::(\d{1,5}))?$/s;

const caller = new SteadyPart(sameCaller, ({ clientIp, clientId, method, protocol, host }) => {
  const [, domain = '', port] = NAME_AND_PORT.exec(host ?? '') ?? [];
  // Elasticsearch refuses a line whose `client.ip` is none.
  const ip = clientIp === UNIX_PEER ? 'null' : text(clientIp);
  return (
    `,"client.address":${text(clientIp)},"client.ip":${ip},"client.user.id":${text(clientId)},` +
    `"http.request.method":${text(method)},"http.version":${text(HTTP_VERSIONS[protocol ?? ''] ?? null)},` +
    `"network.protocol":"${protocol === 'websocket' ? protocol : 'http'}",` +
    `"url.domain":${text(domain || null)},"url.port":${port === undefined ? null : Number(port)},"url.path":`
  );
});

const outcome = new SteadyPart(
  (a, b) => a.method === b.method && sameOutcome(a, b),
  (record) => {
    const { method, status, grpcStatus, reason, bytesIn, bytesOut } = record;
    return (
      `,"message":${text(`${method ?? '-'} ${status} ${reason}`)},"http.response.status_code":${status},` +
      `"sluice.grpc_status":${grpcStatus},"event.reason":"${reason}",` +
      `"event.outcome":"${failureOf(record) === 'none' ? 'success' : 'failure'}",` +
      `"http.request.body.bytes":${bytesIn},"http.response.body.bytes":${bytesOut},"event.duration":`
    );
  },
);

const origin = new SteadyPart(
  sameOrigin,
  ({ attempts, route, policies, userAgent }) =>
    `,"sluice.attempts":${attempts},"sluice.route":${text(route)},"sluice.policies":${policyList(policies)},` +
    `"user_agent.original":${text(userAgent, USER_AGENT_BYTES)},"service.name":"sluice",` +
    `"event.dataset":"sluice.access","ecs.version":"${ECS_VERSION}"}\n`,
);

/** Whole nanoseconds, exact to a microsecond. */
function ns(milliseconds: number): string {
  const us = Math.round(milliseconds * 1000);
  return us > 0 ? String(us) + '000' : '0';
}
