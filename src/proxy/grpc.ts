/**
 * What gRPC asks of a proxy beside HTTP/2. A call is a POST with its own content type. Its outcome is a number, `grpc-status`, which
 * comes in the trailers, or in the head of an answer without a body (trailers-only). The HTTP status is 200 all the same.
 */
import type { Outcome } from '../contract/outcomes.ts';
import type { RequestHead } from '../contract/request-head.ts';
import { fieldValues } from '../http1/field-lines.ts';

/** Also with a suffix (`+proto`) or parameters. `application/grpc-web` is a protocol of its own, made for HTTP/1.1. */
const TYPE = /(?:^|\n)content-type: application\/grpc[+;\r]/;
const STATUS_NAME = 'grpc-status';
const STATUS = /^\d{1,2}$/;
/** 8 digits and a unit. */
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** Of our own answers, by HTTP status; INTERNAL for any other. */
const STATUSES: Readonly<Record<number, number>> = { 403: 7, 404: 12, 429: 8, 502: 14, 503: 14, 504: 4 };
const INTERNAL = 13;

/** isGrpcCall tells whether a request is one; gRPC knows no version but HTTP/2. */
export function isGrpcCall({ httpVersion, method, lines }: RequestHead): boolean {
  return httpVersion === 20 && method === 'POST' && TYPE.test(lines);
}

/** grpcTimeoutMs is how long the client waits, as `grpc-timeout` says; Infinity where it does not. */
export function grpcTimeoutMs({ lines }: RequestHead): number {
  const [, digits, unit = ''] = TIMEOUT.exec(fieldValues(lines, 'grpc-timeout')[0] ?? '') ?? [];
  return digits === undefined ? Number.POSITIVE_INFINITY : Number(digits) * (UNIT_MS[unit] ?? 0);
}

/** statusInLines is the status of an answer that is trailers-only; null for any other. */
export function statusInLines(lines: string): number | null {
  return lines.includes(STATUS_NAME) ? numberOf(fieldValues(lines, STATUS_NAME)[0]) : null;
}

/** statusInTrailers is null where the backend gave none. @param rawTrailers names and values in turn */
export function statusInTrailers(rawTrailers: readonly string[]): number | null {
  for (let i = 0; i + 1 < rawTrailers.length; i += 2)
    if (rawTrailers[i]!.toLowerCase() === STATUS_NAME) return numberOf(rawTrailers[i + 1]);
  return null;
}

function numberOf(text: string | undefined): number | null {
  return text !== undefined && STATUS.test(text) ? Number(text) : null;
}

/** grpcStatusOf is the status of an answer of our own. */
export function grpcStatusOf({ status }: Outcome): number {
  return STATUSES[status] ?? INTERNAL;
}

/** grpcMessage is the value of `grpc-message`: percent-encoded. */
export function grpcMessage(text: string): string {
  return encodeURIComponent(text).replaceAll('%20', ' ');
}
