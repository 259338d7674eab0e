/** Whether a failed attempt is followed by another one (B8, B10). */
import type { ErrorCode } from '../contract/errors.ts';

/** Backends tried after the first one. */
const FURTHER_BACKENDS = 2;

/** Methods that may be sent twice (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);

/** isNothingDone: no backend has processed anything of the request. */
export function isNothingDone(code: ErrorCode): boolean {
  return code === 'connect_failed' || code === 'overload' || code === 'backend_busy';
}

export interface FailedAttempt {
  code: ErrorCode;
  /** Of the LbError: nothing was processed, or a reused connection died before a byte of the answer. */
  retryable: boolean;
  method: string;
  /** No byte of the request body was read from the client, or the next attempt takes over what was read, or there is none. */
  bodyIntact: boolean;
  /** Backends of this request that could not be connected or did not take it, this one included. */
  connectFailures: number;
  /** A fresh connection was already used to replace a dead one. */
  replaced: boolean;
}

/** other: the next backend; fresh: the same backend on a new connection; none: the failure is the answer. */
export type RetryChoice = 'other' | 'fresh' | 'none';

/** decideRetry is asked by the transaction before any byte went to the client. */
export function decideRetry(failed: FailedAttempt): RetryChoice {
  if (!failed.retryable || !failed.bodyIntact) return 'none';
  if (isNothingDone(failed.code)) return failed.connectFailures <= FURTHER_BACKENDS ? 'other' : 'none';
  if (failed.code === 'upstream_reset' && !failed.replaced && IDEMPOTENT.has(failed.method)) return 'fresh';
  return 'none';
}
