/** Heads of answers: what Sluice adds to a backend's, and its own problems. */
import type { ResponseStart } from '../contract/downstream.ts';
import type { Reason } from '../contract/problems.ts';
import type { Decision } from '../limit/decision.ts';
import { appendRateLimitFields, retryAfterSec } from '../limit/ratelimit-headers.ts';
import type { ResponseHead } from '../upstream/exchange.ts';
import type { DateCache } from './date-cache.ts';
import { VIA } from './forwarded-headers.ts';
import { PROBLEM_CONTENT_TYPE, phraseOf, problemBody } from './problem.ts';

/** Seconds after which a client may try again when no backend was there: the order of a probe's interval. */
const NO_BACKEND_RETRY_SEC = 1;
const REQUEST_ID_NAME = 'x-request-id';

interface AnswerContext {
  requestId: string;
  /** null: the route or the client is not limited. */
  decision: Decision | null;
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
    const headers = withoutRequestId(head.headers);
    if (!head.hasDate) headers.push('Date', this.#dates.imfDate());
    headers.push('Via', VIA, 'X-Request-Id', context.requestId);
    if (context.decision !== null) appendRateLimitFields(headers, context.decision);
    return {
      status,
      reason: head.reason,
      headers,
      // RFC 9110 §8.6: no Content-Length in a 204.
      contentLength:
        status === 204 ? -1 : head.hasBody ? Math.max(head.contentLength, knownLength) : head.contentLength,
      hasBody: head.hasBody,
      closing: context.closing,
    };
  }

  /** problem is the head of an answer of our own; its body is problemBody's. */
  problem(status: number, bodyBytes: number, context: ProblemContext): ResponseStart {
    const headers = ['Content-Type', PROBLEM_CONTENT_TYPE, 'Date', this.#dates.imfDate()];
    headers.push('X-Request-Id', context.requestId);
    if (status === 405) headers.push('Allow', context.allow.join(', '));
    if (context.decision !== null) appendRateLimitFields(headers, context.decision);
    const retrySec = retryDelaySec(status, context.decision);
    if (retrySec !== null) headers.push('Retry-After', String(retrySec));
    const { closing } = context;
    return { status, reason: phraseOf(status), headers, contentLength: bodyBytes, hasBody: true, closing };
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

/** A backend that repeats the id it was given must not make two of it. */
function withoutRequestId(headers: string[]): string[] {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length !== REQUEST_ID_NAME.length || headers[i]!.toLowerCase() !== REQUEST_ID_NAME)
      continue;
    headers.splice(i, 2);
    i -= 2;
  }
  return headers;
}

function retryDelaySec(status: number, decision: Decision | null): number | null {
  if (status === 503) return NO_BACKEND_RETRY_SEC;
  return status === 429 && decision !== null ? retryAfterSec(decision) : null;
}
