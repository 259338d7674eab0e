/**
 * How a request can end: the one table of reasons. The name of a row is the `reason` of the access line, the last word of the
 * problem type, and the `code` of the LbError where a failure causes it.
 */

/** Whose fault a failure is. */
export type ErrorSource = 'downstream' | 'upstream' | 'store' | 'config' | 'internal';

interface Row {
  source: ErrorSource;
  /** Of the answer or, where none can be given, of the access line. */
  status: number;
  title: string;
  /** The connection closes after the answer: the bytes behind such a request may not be what they seem. */
  closes?: true;
  /** For LbError.retryable. */
  retryable?: true;
}

const ROWS = {
  ok: { source: 'upstream', status: 200, title: 'OK' },
  limited: { source: 'downstream', status: 429, title: 'Request quota exceeded' },
  cost_above_capacity: { source: 'downstream', status: 429, title: 'Request costs more than its quota' },
  blocked: { source: 'downstream', status: 403, title: 'Client is blocked' },
  no_route: { source: 'downstream', status: 404, title: 'No route for this request' },
  method_not_allowed: { source: 'downstream', status: 405, title: 'Method not allowed here' },
  bad_request: {
    source: 'downstream',
    status: 400,
    title: 'Request is malformed, ambiguous or not supported',
    closes: true,
  },
  ambiguous_path: {
    source: 'downstream',
    status: 400,
    title: 'Path and its normal form belong to different routes',
    closes: true,
  },
  body_too_large: { source: 'downstream', status: 413, title: 'Request body is too large', closes: true },
  target_too_long: { source: 'downstream', status: 414, title: 'Request target is too long', closes: true },
  headers_too_large: {
    source: 'downstream',
    status: 431,
    title: 'Request headers are too large',
    closes: true,
  },
  header_timeout: { source: 'downstream', status: 408, title: 'Request head took too long', closes: true },
  body_timeout: { source: 'downstream', status: 408, title: 'Request body stalled', closes: true },
  write_timeout: { source: 'downstream', status: 408, title: 'Client stopped reading the answer' },
  client_abort: { source: 'downstream', status: 499, title: 'Client went away' },
  shutdown: { source: 'internal', status: 499, title: 'Server stopped before the request was over' },
  no_backend: { source: 'upstream', status: 503, title: 'No backend is available' },
  queue_full: { source: 'internal', status: 503, title: 'Too many requests are waiting' },
  overload: { source: 'internal', status: 503, title: 'Server is overloaded' },
  connect_failed: { source: 'upstream', status: 502, title: 'Backend could not be reached', retryable: true },
  upstream_reset: { source: 'upstream', status: 502, title: 'Backend closed the connection' },
  upstream_invalid: { source: 'upstream', status: 502, title: 'Backend gave an invalid answer' },
  upstream_timeout: { source: 'upstream', status: 504, title: 'Backend did not answer in time' },
  store_denied: { source: 'store', status: 503, title: 'Limits cannot be checked now' },
} as const satisfies Record<string, Row>;

export type Reason = keyof typeof ROWS;

export interface Outcome extends Row {
  reason: Reason;
}

export const OUTCOMES = Object.fromEntries(
  Object.entries(ROWS).map(([reason, row]) => [reason, { reason, ...row }]),
) as Readonly<Record<Reason, Readonly<Outcome>>>;
