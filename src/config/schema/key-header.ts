/** Which fields may carry API keys: end-to-end fields that Sluice neither reads nor writes itself. */
import type { Parsed } from './addresses.ts';

/** A token (RFC 9110 §5.6.2) without `_`: Sluice drops fields with one (B25). */
const NAME = /^[A-Za-z0-9!#$%&'*+.^`|~-]{1,64}$/;

/** Fields of the connection, framing, routing and tracing, and those that the access log shows. */
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

/** parseKeyHeader returns the name in lower case. */
export function parseKeyHeader(raw: string): Parsed<string> {
  const name = raw.toLowerCase();
  if (!NAME.test(raw)) return { message: 'must be a header field name without _' };
  if (RESERVED.has(name) || name.startsWith('x-forwarded-')) {
    return { message: `must not be ${raw}, which has a meaning of its own` };
  }
  return { value: name };
}
