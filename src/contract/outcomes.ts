/**
 * The one table of how a request can end. The name of a row is the `reason` of the access line, the last word of the problem
 * type, and the `code` of the LbError that causes it, if one does.
 */

/** Whose fault a failure is. */
export type ErrorSource = 'downstream' | 'upstream' | 'store' | 'config' | 'internal';

interface Row {
  source: ErrorSource;
  /** Of the answer or, where none can be given, of the access line. */
  status: number;
  title: string;
  /** The connection closes after the answer: the bytes after such a request may not be what they seem. */
  closes?: true;
  /** For LbError.retryable. */
  retryable?: true;
}

const row = (source: ErrorSource, status: number, title: string): Row => ({ source, status, title });
const closing = (status: number, title: string): Row => ({
  ...row('downstream', status, title),
  closes: true,
});

const ROWS = {
  ok: row('upstream', 200, 'OK'),
  limited: row('downstream', 429, 'Request quota exceeded'),
  cost_above_capacity: row('downstream', 429, 'Request costs more than its quota'),
  blocked: row('downstream', 403, 'Client is blocked'),
  no_route: row('downstream', 404, 'No route for this request'),
  method_not_allowed: row('downstream', 405, 'Method not allowed here'),
  bad_request: closing(400, 'Request is malformed, ambiguous or not supported'),
  plain_http: closing(400, 'Plain HTTP came to a port that speaks HTTPS'),
  ambiguous_path: closing(400, 'Path and its normal form belong to different routes'),
  body_too_large: closing(413, 'Request body is too large'),
  target_too_long: closing(414, 'Request target is too long'),
  headers_too_large: closing(431, 'Request headers are too large'),
  header_timeout: closing(408, 'Request head took too long'),
  body_timeout: closing(408, 'Request body stalled'),
  write_timeout: row('downstream', 408, 'Client stopped reading the answer'),
  tunnel_idle: row('downstream', 408, 'Tunnel was silent'),
  client_abort: row('downstream', 499, 'Client went away'),
  shutdown: row('internal', 499, 'Server stopped before the request was over'),
  no_backend: row('upstream', 503, 'No backend is available'),
  queue_full: row('internal', 503, 'Too many requests are waiting'),
  overload: row('internal', 503, 'Server is overloaded'),
  backend_busy: { ...row('upstream', 503, 'Backend takes no more requests'), retryable: true },
  connect_failed: { ...row('upstream', 502, 'Backend could not be reached'), retryable: true },
  upstream_reset: row('upstream', 502, 'Backend closed the connection'),
  upstream_invalid: row('upstream', 502, 'Backend gave an invalid answer'),
  upstream_timeout: row('upstream', 504, 'Backend did not answer in time'),
  internal_error: row('internal', 500, 'Server failed'),
  store_denied: row('store', 503, 'Limits cannot be checked now'),
} satisfies Record<string, Row>;

export type Reason = keyof typeof ROWS;

export interface Outcome extends Row {
  reason: Reason;
}

export const OUTCOMES = Object.fromEntries(
  Object.entries(ROWS).map(([reason, row]) => [reason, { reason, ...row }]),
) as Readonly<Record<Reason, Readonly<Outcome>>>;
