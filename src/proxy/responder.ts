/** Heads of answers: a backend's with what Sluice adds, and those of Sluice's own answers. */
import type { ResponseStart } from '../contract/downstream.ts';
import type { Outcome } from '../contract/outcomes.ts';
import { withoutFields } from '../http1/field-lines.ts';
import type { Decision } from '../limit/decision.ts';
import { type RateLimitFields, retryAfterSec } from '../limit/ratelimit-headers.ts';
import type { ResponseHead } from '../upstream/exchange.ts';
import type { DateCache } from './date-cache.ts';
import { VIA } from './forwarded-headers.ts';
import { PROBLEM_CONTENT_TYPE, phraseOf, problemBody } from './problem.ts';

/** Retry-After where no backend was available: about the interval of a probe. */
const NO_BACKEND_RETRY_SEC = 1;
const REQUEST_ID_NAME: ReadonlySet<string> = new Set(['x-request-id']);

interface AnswerContext {
  requestId: string;
  /** null where the route or the client is not limited. */
  decision: Decision | null;
  limitFields: RateLimitFields;
  /** The connection closes after this answer. */
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
   * relay makes the client's head from a backend's.
   * @param knownLength bytes of a body that is already complete, else -1
   */
  relay(head: ResponseHead, context: AnswerContext, knownLength: number): ResponseStart {
    const { status } = head;
    // A backend may repeat the id that it was given; the client gets one.
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

  /** problem makes the head of one of Sluice's own answers; problemBody makes its body. */
  problem(status: number, bodyBytes: number, context: ProblemContext): ResponseStart {
    const { requestId, decision, limitFields, allow, closing } = context;
    let lines = `Content-Type: ${PROBLEM_CONTENT_TYPE}\r\nDate: ${this.#dates.imfDate()}\r\nX-Request-Id: ${requestId}\r\n`;
    if (status === 405) lines += `Allow: ${allow.join(', ')}\r\n`;
    if (decision !== null) lines += limitFields.lines(decision, '', this.#dates);
    const retrySec = retryDelaySec(status, decision);
    if (retrySec !== null) lines += `Retry-After: ${retrySec}\r\n`;
    return { status, reason: phraseOf(status), lines, contentLength: bodyBytes, hasBody: true, closing };
  }

  /** rawProblem makes a whole HTTP/1.1 answer to bytes that are no request; the connection closes after it. */
  rawProblem(outcome: Outcome, requestId: string): string {
    const { status } = outcome;
    const body = problemBody(outcome, requestId);
    return (
      `HTTP/1.1 ${status} ${phraseOf(status)}\r\nContent-Type: ${PROBLEM_CONTENT_TYPE}\r\n` +
      `Date: ${this.#dates.imfDate()}\r\nX-Request-Id: ${requestId}\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
    );
  }
}

function retryDelaySec(status: number, decision: Decision | null): number | null {
  if (status !== 429 && status !== 503) return null;
  // The limiter refused it and knows when it could pass.
  if (decision !== null && !decision.allowed) return retryAfterSec(decision);
  return status === 503 ? NO_BACKEND_RETRY_SEC : null;
}
