/** Which header fields may carry API keys: end-to-end ones that Sluice neither reads nor writes itself. */
import type { Parsed } from './addresses.ts';

/** A token (RFC 9110 §5.6.2) without `_`, with which fields are dropped (B25). */
const NAME = /^[A-Za-z0-9!#$%&'*+.^`|~-]{1,64}$/;

/** Connection, framing, routing, tracing, and what the access log shows: the names of http1/header-names.ts and more. */
const RESERVED: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'cookie',
  'date',
  'expect',
  'forwarded',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'traceparent',
  'tracestate',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'via',
  'x-real-ip',
  'x-request-id',
]);

/** parseKeyHeader gives the name in lower case; '' stays: keys are off. */
export function parseKeyHeader(raw: string): Parsed<string> {
  const name = raw.toLowerCase();
  if (raw !== '' && !NAME.test(raw)) return { message: 'must be a header field name without _' };
  if (RESERVED.has(name) || name.startsWith('x-forwarded-')) {
    return { message: `must not be ${raw}, which has a meaning of its own` };
  }
  return { value: name };
}
