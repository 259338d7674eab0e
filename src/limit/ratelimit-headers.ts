/**
 * The RateLimit fields (draft-ietf-httpapi-ratelimit-headers-11, contract §8) and Retry-After. The draft may still change
 * its parameters, so nothing else in the product knows how they are written.
 */
import type { Decision } from './decision.ts';

/** rateLimitLines writes both fields as header lines, each with CRLF; call it for every limited answer. */
export function rateLimitLines(decision: Decision): string {
  const name = structuredString(decision.policyName);
  const { capacity, refillPerSecond, remaining } = decision;
  const windowSec = Math.max(1, Math.ceil(capacity / refillPerSecond));
  return (
    `RateLimit-Policy: ${name};q=${capacity};w=${windowSec}\r\n` +
    `RateLimit: ${name};r=${remaining};t=${resetSec(decision)}\r\n`
  );
}

/**
 * retryAfterSec is the value of Retry-After (RFC 9110 §10.2.3): an integer ≥ 1 and never earlier than `t`; null where
 * the field does not belong: the request was allowed, or its cost can never be met.
 */
export function retryAfterSec(decision: Decision): number | null {
  if (decision.allowed || decision.retryAfterMs < 0) return null;
  return Math.max(1, Math.ceil(decision.retryAfterMs / 1000), resetSec(decision));
}

function resetSec(decision: Decision): number {
  const sec = Math.ceil(decision.resetMs / 1000);
  return decision.remaining === 0 ? Math.max(1, sec) : sec;
}

/** A String of RFC 9651 §3.3.3: printable ASCII; other characters are percent-encoded as UTF-8. */
function structuredString(text: string): string {
  const ascii = text.toWellFormed().replaceAll(/[^\x20-\x7e]/gu, (symbol) => encodeURIComponent(symbol));
  return `"${ascii.replaceAll(/["\\]/g, '\\$&')}"`;
}
