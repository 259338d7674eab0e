/** The answers of Sluice's own: problem+json (RFC 9457), written ahead as far as they can be. */
import { problemTypeOf, type Reason } from '../contract/problems.ts';
import { type Decision, violatedPolicies } from '../limit/decision.ts';

/** Reason phrases of the statuses that Sluice itself sends (RFC 9110 §15, RFC 6585). */
const PHRASES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};

const TITLES: Readonly<Record<Reason, string>> = {
  ok: 'OK',
  limited: 'Request quota exceeded',
  blocked: 'Client is blocked',
  no_route: 'No route for this request',
  method_not_allowed: 'Method not allowed here',
  bad_request: 'Request is malformed, ambiguous or not supported',
  body_too_large: 'Request body is too large',
  target_too_long: 'Request target is too long',
  headers_too_large: 'Request headers are too large',
  header_timeout: 'Request head took too long',
  body_timeout: 'Request body stalled',
  write_timeout: 'Client stopped reading the answer',
  client_abort: 'Client went away',
  no_backend: 'No backend is available',
  queue_full: 'Too many requests are waiting',
  overload: 'Server is overloaded',
  connect_failed: 'Backend could not be reached',
  upstream_reset: 'Backend closed the connection',
  upstream_invalid: 'Backend gave an invalid answer',
  upstream_timeout: 'Backend did not answer in time',
  store_denied: 'Limits cannot be checked now',
};

/** What the parser of requests complains of, by what it deserves. */
const REASONS_OF_STATUS: Readonly<Record<number, Reason>> = {
  408: 'header_timeout',
  413: 'body_too_large',
  414: 'target_too_long',
  431: 'headers_too_large',
};

/** reasonOfStatus is the reason of a request, or of a rest of one, that cannot be parsed; for handler and transaction. */
export function reasonOfStatus(status: number): Reason {
  return REASONS_OF_STATUS[status] ?? 'bad_request';
}

export const PROBLEM_CONTENT_TYPE = 'application/problem+json';

/** CLOSING_REASONS: the bytes behind such a request may not be what they seem; the connection ends. */
export const CLOSING_REASONS: ReadonlySet<Reason> = new Set<Reason>([
  'bad_request',
  'body_too_large',
  'target_too_long',
  'headers_too_large',
  'body_timeout',
]);

/** phraseOf is the reason phrase of a status that Sluice itself sends. */
export function phraseOf(status: number): string {
  return PHRASES[status] ?? '';
}

/** Bodies up to the request id, by status and reason: both are closed sets. */
const prefixes = new Map<string, string>();

/**
 * problemBody is the body for a reason; ASCII. That of a 429 names the policies whose quota is spent (a member of the
 * registered type).
 *
 * @param requestId only of [A-Za-z0-9._-]
 * @param decision the limiter's, for a request that was limited
 */
export function problemBody(
  reason: Reason,
  status: number,
  requestId: string,
  decision: Decision | null = null,
): string {
  const key = `${status} ${reason}`;
  let prefix = prefixes.get(key);
  if (prefix === undefined) {
    const known = { type: problemTypeOf(reason), title: TITLES[reason], status, requestId: '' };
    prefix = JSON.stringify(known).slice(0, -'"}'.length);
    prefixes.set(key, prefix);
  }
  if (reason !== 'limited' || decision === null) return `${prefix}${requestId}"}`;
  return `${prefix}${requestId}","violated-policies":${JSON.stringify(violatedPolicies(decision))}}`;
}
