/**
 * The one error class and the one table of codes. Every failure that crosses a room carries what the next room must
 * know: whose fault it is (`source`), whether trying again can help (`retryable`), and what the client gets (`status`).
 * Callers branch on `code`, never on message text.
 */
export type ErrorSource = 'downstream' | 'upstream' | 'store' | 'config' | 'internal';

interface ErrorRow {
  source: ErrorSource;
  retryable: boolean;
  /** HTTP status of the answer; 0 where no answer is possible or none is meant. */
  status: number;
}

const row = (source: ErrorSource, status: number, retryable = false): ErrorRow => ({
  source,
  retryable,
  status,
});

/**
 * Codes of failures of a proxied request equal the `reason` of its access line and the last word of its
 * problem type; the others name failures of start-up, of the stores and of the admin API.
 */
export const ERRORS = {
  bad_request: row('downstream', 400),
  blocked: row('downstream', 403),
  no_route: row('downstream', 404),
  method_not_allowed: row('downstream', 405),
  header_timeout: row('downstream', 408),
  body_timeout: row('downstream', 408),
  write_timeout: row('downstream', 0),
  body_too_large: row('downstream', 413),
  target_too_long: row('downstream', 414),
  headers_too_large: row('downstream', 431),
  limited: row('downstream', 429),
  client_abort: row('downstream', 499),
  no_backend: row('upstream', 503),
  overload: row('internal', 503),
  connect_failed: row('upstream', 502, true),
  upstream_reset: row('upstream', 502),
  upstream_invalid: row('upstream', 502),
  upstream_timeout: row('upstream', 504),
  store_denied: row('store', 503),
  store_unavailable: row('store', 503, true),
  store_timeout: row('store', 503, true),
  database_unavailable: row('store', 503, true),
  database_starting: row('store', 503, true),
  client_exists: row('downstream', 409),
  client_not_found: row('downstream', 404),
  key_not_found: row('downstream', 404),
  too_many_keys: row('downstream', 409),
  secret_missing: row('config', 503),
  schema_mismatch: row('store', 503),
  folder_locked: row('store', 0),
  config_invalid: row('config', 0),
  listen_failed: row('internal', 0),
  worker_gone: row('internal', 0),
  worker_timeout: row('internal', 0),
  not_supported: row('downstream', 501),
  internal_error: row('internal', 500),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

interface LbErrorOptions {
  cause?: unknown;
  /** Overrides the table where the place of failure knows better, e.g. a reset before any byte was answered. */
  retryable?: boolean;
  /** Overrides the table's status, e.g. 505 for a bad_request about the version. */
  status?: number;
}

/** LbError is thrown or passed by every room; `cause` keeps the library's own error. */
export class LbError extends Error {
  readonly code: ErrorCode;
  readonly source: ErrorSource;
  readonly retryable: boolean;
  readonly status: number;

  constructor(code: ErrorCode, message: string, options: LbErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LbError';
    this.code = code;
    const known: ErrorRow = ERRORS[code];
    this.source = known.source;
    this.retryable = options.retryable ?? known.retryable;
    this.status = options.status ?? known.status;
  }
}

/** toError turns whatever was thrown into an Error; for catch clauses that must pass a `cause` or log one. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** systemCodeOf returns Node's `code` of a thrown value ('ECONNREFUSED', …) or null; for branching without `instanceof`. */
export function systemCodeOf(thrown: unknown): string | null {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return null;
  return typeof thrown.code === 'string' ? thrown.code : null;
}
