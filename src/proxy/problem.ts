/** Sluice's own answers: problem+json (RFC 9457), encoded in advance as far as possible. */
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import { type Decision, violatedPolicies } from '../limit/decision.ts';

export const PROBLEM_CONTENT_TYPE = 'application/problem+json';
/** Base of every problem type but the registered one. */
const PROBLEM_BASE = 'https://sluice.dev/problems/';
/** The type registered for a spent quota; every 429 has it. */
const QUOTA_EXCEEDED_TYPE = 'https://iana.org/assignments/http-problem-types#quota-exceeded';

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

const PARSER_OUTCOMES: Readonly<Record<number, Outcome>> = {
  408: OUTCOMES.header_timeout,
  413: OUTCOMES.body_too_large,
  414: OUTCOMES.target_too_long,
  431: OUTCOMES.headers_too_large,
};

/** outcomeOfStatus is the outcome of a request that the parser refused with a status; for handler and transaction. */
export function outcomeOfStatus(status: number): Outcome {
  return PARSER_OUTCOMES[status] ?? { ...OUTCOMES.bad_request, status };
}

/** phraseOf is the reason phrase of a status that Sluice itself sends. */
export function phraseOf(status: number): string {
  return PHRASES[status] ?? '';
}

/** Bodies up to the request id, by reason and status. */
const prefixes = new Map<string, string>();

/**
 * problemBody is the body of an answer; ASCII. That of a 429 names the policies that refused ("violated-policies" is a member
 * of the registered type).
 *
 * @param requestId only of [A-Za-z0-9._-]
 * @param decision the limiter's, for a request that was limited
 */
export function problemBody(
  { reason, status, title }: Outcome,
  requestId: string,
  decision: Decision | null = null,
): string {
  const key = `${status} ${reason}`;
  let prefix = prefixes.get(key);
  if (prefix === undefined) {
    const type = status === 429 ? QUOTA_EXCEEDED_TYPE : PROBLEM_BASE + reason;
    // Both reasons of a 429 have the registered type: the rarer one says so in a member of its own.
    const member = reason === 'cost_above_capacity' ? { reason } : {};
    prefix = JSON.stringify({ type, title, status, ...member, requestId: '' }).slice(0, -'"}'.length);
    prefixes.set(key, prefix);
  }
  if (status !== 429 || decision === null) return `${prefix}${requestId}"}`;
  return `${prefix}${requestId}","violated-policies":${JSON.stringify(violatedPolicies(decision))}}`;
}
