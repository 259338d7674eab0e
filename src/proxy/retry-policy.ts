/** Whether a failed attempt is followed by another one (B8, B10). */
import type { ErrorCode } from '../contract/errors.ts';

/** Backends tried after the first one could not be connected. */
const FURTHER_BACKENDS = 2;

/** Methods that may be sent twice (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);

export interface FailedAttempt {
  code: ErrorCode;
  /** Of the LbError: nothing was sent, or a reused connection died before a byte of the answer. */
  retryable: boolean;
  method: string;
  /** No byte of the request body was read from the client, or there is none. */
  bodyUnread: boolean;
  /** Backends of this request that could not be connected, this one included. */
  connectFailures: number;
  /** A fresh connection was already used to replace a dead one. */
  replaced: boolean;
}

/** other: the next backend; fresh: the same backend on a new connection; none: the failure is the answer. */
export type RetryChoice = 'other' | 'fresh' | 'none';

/** decideRetry is asked by the transaction before any byte went to the client. */
export function decideRetry(failed: FailedAttempt): RetryChoice {
  if (!failed.retryable || !failed.bodyUnread) return 'none';
  const isUnconnected = failed.code === 'connect_failed' || failed.code === 'overload';
  if (isUnconnected) return failed.connectFailures <= FURTHER_BACKENDS ? 'other' : 'none';
  if (failed.code === 'upstream_reset' && !failed.replaced && IDEMPOTENT.has(failed.method)) return 'fresh';
  return 'none';
}
