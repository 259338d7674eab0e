/**
 * Problem types of the errors that Sluice itself answers (RFC 9457) and the fixed `reason` codes of the access log.
 */

/** Base of every problem type but the registered one; kept here only. */
const PROBLEM_BASE = 'https://sluice.dev/problems/';

/** The type registered for a spent quota, used by the 429 alone. */
const QUOTA_EXCEEDED_TYPE = 'https://iana.org/assignments/http-problem-types#quota-exceeded';

/** Reasons of access lines, in the order in which they are documented. */
export const REASONS = [
  'ok',
  'limited',
  'blocked',
  'no_route',
  'method_not_allowed',
  'bad_request',
  'body_too_large',
  'target_too_long',
  'headers_too_large',
  'header_timeout',
  'body_timeout',
  'write_timeout',
  'client_abort',
  'no_backend',
  'queue_full',
  'overload',
  'connect_failed',
  'upstream_reset',
  'upstream_invalid',
  'upstream_timeout',
  'store_denied',
] as const;

export type Reason = (typeof REASONS)[number];

/** problemTypeOf names the type of a reason; for the responder and for pre-encoded bodies. */
export function problemTypeOf(reason: Reason): string {
  return reason === 'limited' ? QUOTA_EXCEEDED_TYPE : PROBLEM_BASE + reason;
}
