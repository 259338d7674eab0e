/** Heads of answers: what Sluice adds to a backend's, and its own problems. */
import type { ResponseStart } from '../contract/downstream.ts';
import type { Reason } from '../contract/problems.ts';
import { withoutFields } from '../http1/field-lines.ts';
import type { Decision } from '../limit/decision.ts';
import { type RateLimitFields, retryAfterSec } from '../limit/ratelimit-headers.ts';
import type { ResponseHead } from '../upstream/exchange.ts';
import type { DateCache } from './date-cache.ts';
import { VIA } from './forwarded-headers.ts';
import { PROBLEM_CONTENT_TYPE, phraseOf, problemBody } from './problem.ts';

/** Seconds after which a client may try again when no backend was there: the order of a probe's interval. */
const NO_BACKEND_RETRY_SEC = 1;
const REQUEST_ID_NAME: ReadonlySet<string> = new Set(['x-request-id']);

interface AnswerContext {
  requestId: string;
  /** null: the route or the client is not limited. */
  decision: Decision | null;
  /** Of the request's plan. */
  limitFields: RateLimitFields;
  /** The connection ends after this answer. */
  closing: boolean;
}

interface ProblemContext extends AnswerContext {
  /** For 405 (RFC 9110 §15.5.6). */
  allow: readonly string[];
}

export class Responder {
  readonly #dates: DateCache;

  constructor(dates: DateCache) {
    this.#dates = dates;
  }

  /**
   * relay is the head for the client of an answer that a backend gave.
   * @param knownLength of a body that is there already, else -1
   */
  relay(head: ResponseHead, context: AnswerContext, knownLength: number): ResponseStart {
    const { status } = head;
    // A backend that repeats the id it was given must not make two of it.
    let lines = head.hasRequestId ? withoutFields(head.lines, REQUEST_ID_NAME) : head.lines;
    if (!head.hasDate) lines += `Date: ${this.#dates.imfDate()}\r\n`;
    lines += `Via: ${VIA}\r\nX-Request-Id: ${context.requestId}\r\n`;
    const { decision, limitFields } = context;
    if (decision !== null) lines += limitFields.lines(decision, head.lines, this.#dates);
    return {
      status,
      reason: head.reason,
      lines,
      contentLength: head.hasBody ? Math.max(head.contentLength, knownLength) : head.contentLength,
      hasBody: head.hasBody,
      closing: context.closing,
    };
  }

  /** problem is the head of an answer of our own; its body is problemBody's. */
  problem(status: number, bodyBytes: number, context: ProblemContext): ResponseStart {
    const { requestId, decision, limitFields, allow, closing } = context;
    let lines = `Content-Type: ${PROBLEM_CONTENT_TYPE}\r\nDate: ${this.#dates.imfDate()}\r\nX-Request-Id: ${requestId}\r\n`;
    if (status === 405) lines += `Allow: ${allow.join(', ')}\r\n`;
    if (decision !== null) lines += limitFields.lines(decision, '', this.#dates);
    const retrySec = retryDelaySec(status, decision);
    if (retrySec !== null) lines += `Retry-After: ${retrySec}\r\n`;
    return { status, reason: phraseOf(status), lines, contentLength: bodyBytes, hasBody: true, closing };
  }

  /** rawProblem is a whole HTTP/1.1 answer for a request that never became one; the connection closes after it. */
  rawProblem(reason: Reason, status: number, requestId: string): string {
    const body = problemBody(reason, status, requestId);
    return (
      `HTTP/1.1 ${status} ${phraseOf(status)}\r\nContent-Type: ${PROBLEM_CONTENT_TYPE}\r\n` +
      `Date: ${this.#dates.imfDate()}\r\nX-Request-Id: ${requestId}\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
    );
  }
}

function retryDelaySec(status: number, decision: Decision | null): number | null {
  if (status !== 429 && status !== 503) return null;
  // A refused request has no other answer than the limiter's.
  if (decision !== null && !decision.allowed) return retryAfterSec(decision);
  return status === 503 ? NO_BACKEND_RETRY_SEC : null;
}
