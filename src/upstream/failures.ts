/** Errors with which a request to a backend ends, whatever the protocol. */
import { isOwnShortage, LbError } from '../contract/errors.ts';

/** `overload` where this machine is the cause. Nothing was sent, so the request may be tried again. */
export function connectError(cause: Error): LbError {
  const code = isOwnShortage(cause) ? 'overload' : 'connect_failed';
  return new LbError(code, `connect failed: ${cause.message}`, { cause, retryable: true });
}

export function notConnected(connectMs: number): LbError {
  return new LbError('connect_failed', `not connected within ${connectMs} ms`);
}

export function noHead(responseMs: number): LbError {
  return new LbError('upstream_timeout', `no response head within ${responseMs} ms`);
}

export function silence(idleMs: number): LbError {
  return new LbError('upstream_timeout', `response body silent for ${idleMs} ms`);
}

export function unreadRequest(): LbError {
  return new LbError('upstream_timeout', 'backend stopped reading the request');
}

export function invalidResponse(problem: string): LbError {
  return new LbError('upstream_invalid', `invalid response: ${problem}`);
}

/** The body of a request is not as long as announced, which would change where the next request begins. */
export function wrongLength(problem: 'longer' | 'shorter'): LbError {
  return new LbError('internal_error', `request body ${problem} than announced`);
}

/** bodyFailure makes an error of what was thrown while a request body was sent. */
export function bodyFailure(thrown: unknown): LbError {
  if (thrown instanceof LbError) return thrown;
  return new LbError('internal_error', 'request body failed', { cause: thrown });
}
