/** Heads of a backend's answers with what Sluice adds, and Sluice's own answers: problem+json (RFC 9457). */
import type { ResponseStart } from '../contract/downstream.ts';
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import { withoutFields } from '../http1/field-lines.ts';
import { type Decision, violatedPolicies } from '../limit/decision.ts';
import { retryAfterSec } from '../limit/ratelimit-headers.ts';
import type { ResponseHead } from '../upstream/upstream-request.ts';
import type { DateCache } from './date-cache.ts';
import { VIA } from './forwarded-headers.ts';

const CONTENT_TYPE_LINE = 'Content-Type: application/problem+json\r\n';
/** Base of every problem type but the registered one. */
const PROBLEM_BASE = 'https://sluice.dev/problems/';
/** The type registered for a spent quota; every 429 has it. */
const QUOTA_EXCEEDED_TYPE = 'https://iana.org/assignments/http-problem-types#quota-exceeded';
/** Where no backend was available: about the interval of a probe. */
const NO_BACKEND_RETRY_LINE = 'Retry-After: 1\r\n';
const REQUEST_ID_NAME: ReadonlySet<string> = new Set(['x-request-id']);

/** Reason phrases of the statuses that Sluice itself sends (RFC 9110 §15, RFC 6585). */
const PHRASES: Readonly<Record<number, string>> = {
  200: 'OK',
  301: 'Moved Permanently',
  302: 'Found',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
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
  500: 'Internal Server Error',
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

/** outcomeOfStatus is the outcome of a request that the parser refused with a status. */
export function outcomeOfStatus(status: number): Outcome {
  return PARSER_OUTCOMES[status] ?? { ...OUTCOMES.bad_request, status };
}

/** OwnAnswer is what Downstream.complete takes. */
export interface OwnAnswer {
  start: ResponseStart;
  body: string;
}

/** Responder is made once per worker. Where a decision is asked for, null means that the request was not limited. */
export class Responder {
  readonly #dates: DateCache;
  /** Bodies up to the request id, by status and reason. */
  readonly #prefixes = new Map<string, string>();

  constructor(dates: DateCache) {
    this.#dates = dates;
  }

  /**
   * relay makes the client's head from a backend's.
   * @param knownLength bytes of a body that is already complete, else -1
   * @param closing whether the connection closes after this answer
   * @param limitLines of RateLimitFields
   */
  relay(
    head: ResponseHead,
    knownLength: number,
    closing: boolean,
    requestId: string,
    limitLines: string,
  ): ResponseStart {
    const { status, reason, hasBody, contentLength } = head;
    // A backend may repeat the id that it was given; the client gets one.
    let lines = head.hasRequestId ? withoutFields(head.lines, REQUEST_ID_NAME) : head.lines;
    if (!head.hasDate) lines += `Date: ${this.#dates.imfDate()}\r\n`;
    lines += `Via: ${VIA}\r\nX-Request-Id: ${requestId}\r\n${limitLines}`;
    const bodyBytes = hasBody ? Math.max(contentLength, knownLength) : contentLength;
    return { status, reason, lines, contentLength: bodyBytes, hasBody, closing };
  }

  /** own makes an answer of Sluice's own that is no problem. @param ownLines each with CRLF */
  own(status: number, ownLines: string, body: string, requestId: string): OwnAnswer {
    const reason = PHRASES[status] ?? '';
    const lines = ownLines + this.#commonLines(requestId);
    return {
      start: { status, reason, lines, contentLength: body.length, hasBody: true, closing: false },
      body,
    };
  }

  /**
   * refusal makes one of Sluice's own answers that say why: problem+json.
   * @param moreLines further fields, each with CRLF
   */
  refusal(outcome: Outcome, requestId: string, decision: Decision | null, moreLines: string): OwnAnswer {
    const { status, closes } = outcome;
    const body = this.#problemBody(outcome, requestId, decision);
    const lines = this.#problemLines(requestId) + moreLines + retryLine(status, decision);
    const reason = PHRASES[status] ?? '';
    const closing = closes === true;
    return { start: { status, reason, lines, contentLength: body.length, hasBody: true, closing }, body };
  }

  /**
   * grpcRefusal is refusal for a gRPC call: trailers-only.
   * @param moreLines the fields of gRPC and further ones, each with CRLF
   */
  grpcRefusal(
    { status }: Outcome,
    requestId: string,
    decision: Decision | null,
    moreLines: string,
  ): OwnAnswer {
    const common = `Content-Type: application/grpc\r\n${this.#commonLines(requestId)}`;
    const lines = common + moreLines + retryLine(status, decision);
    return {
      start: { status: 200, reason: '', lines, contentLength: -1, hasBody: false, closing: false },
      body: '',
    };
  }

  /** rawRefusal makes a whole HTTP/1.1 answer to bytes that are not a request; the connection closes after it. */
  rawRefusal(outcome: Outcome, requestId: string): { answer: string; bodyBytes: number } {
    const { status } = outcome;
    const body = this.#problemBody(outcome, requestId, null);
    const head =
      `HTTP/1.1 ${status} ${PHRASES[status] ?? ''}\r\n${this.#problemLines(requestId)}` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
    return { answer: head + body, bodyBytes: body.length };
  }

  /**
   * ASCII. The body of a 429 names the policies that refused: `violated-policies` is a member of the registered type.
   * @param requestId only of [A-Za-z0-9._-]
   */
  #problemBody({ reason, status, title }: Outcome, requestId: string, decision: Decision | null): string {
    const key = `${status} ${reason}`;
    let prefix = this.#prefixes.get(key);
    if (prefix === undefined) {
      const type = status === 429 ? QUOTA_EXCEEDED_TYPE : PROBLEM_BASE + reason;
      // Both reasons of a 429 have the registered type, so the rarer one is named in a member.
      const member = reason === 'cost_above_capacity' ? { reason } : {};
      prefix = JSON.stringify({ type, title, status, ...member, requestId: '' }).slice(0, -'"}'.length);
      this.#prefixes.set(key, prefix);
    }
    if (status !== 429 || decision === null) return `${prefix}${requestId}"}`;
    return `${prefix}${requestId}","violated-policies":${JSON.stringify(violatedPolicies(decision))}}`;
  }

  #problemLines(requestId: string): string {
    return CONTENT_TYPE_LINE + this.#commonLines(requestId);
  }

  #commonLines(requestId: string): string {
    return `Date: ${this.#dates.imfDate()}\r\nX-Request-Id: ${requestId}\r\n`;
  }
}

/** RFC 9110 §10.2.3; '' where nobody knows when to try again. */
function retryLine(status: number, decision: Decision | null): string {
  // The limiter refused the request, and knows when it could pass if it ever can.
  const isLimited = (status === 429 || status === 503) && decision !== null && !decision.allowed;
  if (!isLimited) return status === 503 ? NO_BACKEND_RETRY_LINE : '';
  const sec = retryAfterSec(decision);
  return sec === null ? '' : `Retry-After: ${sec}\r\n`;
}
