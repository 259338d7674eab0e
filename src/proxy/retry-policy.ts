/** Whether a failed attempt is followed by another one (B8, B10), and when. */
import type { ErrorCode } from '../contract/errors.ts';
import type { RetrySettings } from '../contract/pool-settings.ts';
import { trimmedValue } from '../http1/head-bytes.ts';

/** Backends tried after the first one, where nothing was sent. */
const FURTHER_BACKENDS = 2;
const BACK_OFF_FIRST_MS = 25;
const BACK_OFF_MAX_MS = 250;
/** The answer of a backend that wants more time than this is relayed, and not retried. */
export const RETRY_AFTER_MAX_MS = 1_000;

/** Methods that may be sent twice (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);

/** mayRepeat: whether a request may be sent again although a backend may have processed it. */
export function mayRepeat(method: string, { nonIdempotent }: RetrySettings): boolean {
  return nonIdempotent || IDEMPOTENT.has(method);
}

/** isNothingDone: no backend has processed anything of the request. */
export function isNothingDone(code: FailedAttempt['code']): boolean {
  return code === 'connect_failed' || code === 'overload' || code === 'backend_busy';
}

/** Why there is another attempt: the label of sluice_retries_total. */
export const RETRY_REASONS = ['connect', 'reused_socket', 'status', 'timeout', 'reset'] as const;
export type RetryReason = (typeof RETRY_REASONS)[number];

export interface FailedAttempt {
  /** `status`: a head came, with a status of `onStatus`. */
  code: ErrorCode | 'status';
  /** LbError.retryable: nothing was processed, or a reused connection was lost before a byte of the answer. */
  retryable: boolean;
  /** See mayRepeat. */
  repeatable: boolean;
  /** An upgrade, which may have begun. */
  switches: boolean;
  /** No byte of the request body was read from the client, or all that was is kept, or there is none. */
  bodyRepeatable: boolean;
  /** Backends of this request that could not be connected or did not take it, this one included. */
  connectFailures: number;
  /** A fresh connection was already used to replace a dead one. */
  replaced: boolean;
  /** Retries so far that count against `attempts`. */
  retries: number;
}

/** decideRetry is asked before any byte went to the client. @returns null: the failure is the answer */
export function decideRetry({ attempts }: RetrySettings, failed: FailedAttempt): RetryReason | null {
  const { code, retryable, repeatable, switches, connectFailures, replaced, retries } = failed;
  if (!failed.bodyRepeatable) return null;
  if (isNothingDone(code)) return retryable && connectFailures <= FURTHER_BACKENDS ? 'connect' : null;
  if (!repeatable) return null;
  if (code === 'upstream_reset' && retryable && !replaced) return 'reused_socket';
  if (switches || retries >= attempts) return null;
  if (code === 'status') return 'status';
  if (code === 'upstream_reset') return 'reset';
  return code === 'upstream_timeout' ? 'timeout' : null;
}

/** backOffMs is the length of the n-th back-off of a request (from 0 on), with full jitter. @param random uniform in [0, 1) */
export function backOffMs(n: number, random: number): number {
  return random * Math.min(BACK_OFF_MAX_MS, BACK_OFF_FIRST_MS * 2 ** n);
}

/** retryAfterMs reads Retry-After from the lines of a head. @returns 0 without one; Infinity where it is a date, or no number */
export function retryAfterMs(lines: string): number {
  const [, found] = /^retry-after:(.*)$/im.exec(lines) ?? [];
  if (found === undefined) return 0;
  const value = trimmedValue(found);
  return /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Number.POSITIVE_INFINITY;
}
