/** What the access line of a request says of it. */
import { withoutQuery } from '../contract/normal-path.ts';
import type { Reason } from '../contract/outcomes.ts';
import type { RequestHead } from '../contract/request-head.ts';
import type { LogSettings } from '../contract/settings.ts';
import { LINE_BYTES } from '../infra/logging/line-sink.ts';

/** AccessRecord is the content of a line, filled while the request goes on. It must not change once the line is made. */
export class AccessRecord {
  time = '';
  requestId = '';
  /** Hexadecimal; like the request id, it is written without escapes. */
  traceId: string | null = null;
  clientIp: string;
  clientId: string | null = null;
  method: string | null;
  /** `http/1.0`, `http/1.1`, `h2`, `websocket`; null where no request could be read. */
  protocol: string | null = null;
  host: string | null = null;
  /** Without its query. */
  path: string | null = null;
  status = 0;
  /** Of a gRPC call that has one. */
  grpcStatus: number | null = null;
  reason: Reason = 'ok';
  bytesIn = 0;
  bytesOut = 0;
  totalMs = 0;
  /** From the start of the last attempt to its response head. */
  upstreamMs: number | null = null;
  /** 0 once an attempt was made. What waits for a stream of HTTP/2 is in upstreamMs. */
  queueMs: number | null = null;
  limiterMs: number | null = null;
  backend: string | null = null;
  attempts = 0;
  route: string | null = null;
  /** Names of the policies that refused the request; null where none did. */
  policies: readonly string[] | null = null;
  userAgent: string | null = null;

  constructor(clientIp: string, method: string | null) {
    this.clientIp = clientIp;
    this.method = method;
  }
}

const PROTOCOLS: Readonly<Record<number, string>> = { 10: 'http/1.0', 11: 'http/1.1', 20: 'h2' };

/** protocolOf is the field `protocol` of a request. */
export function protocolOf({ httpVersion }: RequestHead): string {
  return PROTOCOLS[httpVersion] ?? '';
}

/** isSampled decides whether a request gets an access line. */
export function isSampled({ enabled, sample }: LogSettings['access']): boolean {
  return enabled && (sample >= 1 || Math.random() < sample);
}

/** loggedPath is the path as it came, without its query; null for an absolute-form, which may hold a password. */
export function loggedPath(target: string): string | null {
  return target === '*' || target.startsWith('/') ? withoutQuery(target) : null;
}

/**
 * keepTexts is called for a record that outlives its request: that of a tunnel. Texts cut out of a head keep all of it in memory.
 */
export function keepTexts(record: AccessRecord): void {
  record.host = keptText(record.host, LINE_BYTES);
  record.path = keptText(record.path, LINE_BYTES);
  record.userAgent = keptText(record.userAgent, LINE_BYTES);
  record.traceId = keptText(record.traceId, LINE_BYTES);
  record.requestId = keptText(record.requestId, LINE_BYTES) ?? '';
}

/** keptText is the beginning of a text, in memory of its own. @param maxLength in characters */
export function keptText(text: string | null, maxLength: number): string | null {
  return text === null ? null : ownText(text.slice(0, maxLength));
}

/** ownText is the same text in memory of its own. */
export function ownText(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
