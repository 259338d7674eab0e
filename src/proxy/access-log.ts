/** Access lines (contract §7): one JSON object per request, every key always there, at most LINE_BYTES long. */
import type { Reason } from '../contract/problems.ts';

/** Bytes of a line without its newline; writes of up to 4,096 bytes do not interleave on a pipe. */
export const LINE_BYTES = 4000;
const USER_AGENT_BYTES = 1000;
/** For all other texts that come from clients or the configuration. */
const TEXT_BYTES = 256;

export interface AccessRecord {
  time: string;
  requestId: string;
  traceId: string | null;
  clientIp: string;
  clientId: string | null;
  method: string | null;
  host: string | null;
  /** Without query. */
  path: string | null;
  status: number;
  reason: Reason;
  bytesIn: number;
  bytesOut: number;
  totalMs: number;
  /** Until the response head of the last attempt. */
  upstreamMs: number | null;
  queueMs: number | null;
  limiterMs: number | null;
  backend: string | null;
  attempts: number;
  route: string | null;
  userAgent: string | null;
}

/** accessLine writes one line with its newline; what clients sent is escaped and, where too long, cut. */
export function accessLine(record: AccessRecord): string {
  const before =
    `{"time":"${record.time}","requestId":"${record.requestId}","traceId":${text(record.traceId)},` +
    `"clientIp":${text(record.clientIp)},"clientId":${text(record.clientId)},` +
    `"method":${text(record.method)},"host":${text(record.host)},"path":`;
  const after =
    `,"status":${record.status},"reason":"${record.reason}","bytesIn":${record.bytesIn},` +
    `"bytesOut":${record.bytesOut},"totalMs":${ms(record.totalMs)},"upstreamMs":${ms(record.upstreamMs)},` +
    `"queueMs":${ms(record.queueMs)},"limiterMs":${ms(record.limiterMs)},"backend":${text(record.backend)},` +
    `"attempts":${record.attempts},"route":${text(record.route)},` +
    `"userAgent":${text(record.userAgent, USER_AGENT_BYTES)}}`;
  // The backend's and the route's name may hold anything that YAML can: bytes, not characters, are counted.
  const pathBytes = LINE_BYTES - Buffer.byteLength(before) - Buffer.byteLength(after);
  return `${before}${text(record.path, pathBytes)}${after}\n`;
}

/** loggedPath is the path as it came, without query; an authority in it may hold a password and stays out. */
export function loggedPath(target: string): string | null {
  if (target !== '*' && !target.startsWith('/')) return null;
  const queryAt = target.indexOf('?');
  return queryAt < 0 ? target : target.slice(0, queryAt);
}

const PLAIN_TEXT = /^[ !#-[\]-~]*$/;
const QUOTES_BYTES = 2;

/** text encodes a string as JSON in at most maxBytes of UTF-8, quotes included. */
function text(value: string | null, maxBytes = TEXT_BYTES): string {
  if (value === null) return 'null';
  if (value.length <= maxBytes - QUOTES_BYTES && PLAIN_TEXT.test(value)) return `"${value}"`;
  let room = maxBytes - QUOTES_BYTES;
  let encoded = '';
  for (const character of value) {
    const piece = JSON.stringify(character).slice(1, -1);
    room -= Buffer.byteLength(piece);
    if (room < 0) break;
    encoded += piece;
  }
  return `"${encoded}"`;
}

/** Milliseconds with three decimals. */
function ms(value: number | null): string {
  return value === null ? 'null' : String(Math.round(value * 1000) / 1000);
}
