/**
 * The one error class. An error says whose fault it is (`source`), whether trying again can help (`retryable`) and what the
 * client gets (`status`). Callers branch on `code`, never on the message; the log shows all of them.
 */
import { type ErrorSource, OUTCOMES, type Outcome, type Reason } from './outcomes.ts';

/** A status of 0: no answer is possible. */
type ErrorRow = Pick<Outcome, 'source' | 'status' | 'retryable'>;

/** Failures that are not the outcome of a proxied request: of start-up, the stores and the admin API. */
const OTHER_ERRORS = {
  store_unavailable: { source: 'store', status: 503, retryable: true },
  store_timeout: { source: 'store', status: 503, retryable: true },
  bucket_unreadable: { source: 'store', status: 503 },
  database_unavailable: { source: 'store', status: 503, retryable: true },
  /** Of a write that may have taken effect. */
  database_unanswered: { source: 'store', status: 503, retryable: true },
  database_starting: { source: 'store', status: 503, retryable: true },
  client_exists: { source: 'downstream', status: 409 },
  client_changed: { source: 'downstream', status: 412 },
  client_not_found: { source: 'downstream', status: 404 },
  key_not_found: { source: 'downstream', status: 404 },
  too_many_keys: { source: 'downstream', status: 409 },
  secret_missing: { source: 'config', status: 503 },
  schema_mismatch: { source: 'store', status: 503 },
  folder_locked: { source: 'store', status: 503 },
  config_invalid: { source: 'config', status: 0 },
  log_file_failed: { source: 'config', status: 0 },
  listen_failed: { source: 'internal', status: 0 },
  admin_refused: { source: 'downstream', status: 0 },
  worker_gone: { source: 'internal', status: 0 },
  worker_timeout: { source: 'internal', status: 0 },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = Reason | keyof typeof OTHER_ERRORS;

const ERRORS: Readonly<Record<ErrorCode, ErrorRow>> = { ...OUTCOMES, ...OTHER_ERRORS };

/** LbError is every failure that crosses a folder; `cause` is the error of the library or of the system below. */
export class LbError extends Error {
  readonly code: ErrorCode;
  readonly source: ErrorSource;
  readonly retryable: boolean;
  readonly status: number;

  /** @param options retryable, status: instead of the table's, where the thrower knows better */
  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; retryable?: boolean; status?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LbError';
    this.code = code;
    const { source, status, retryable = false } = ERRORS[code];
    this.source = source;
    this.status = options.status ?? status;
    this.retryable = options.retryable ?? retryable;
  }
}

/** toError turns whatever was thrown into an Error. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** systemCodeOf returns Node's `code` of a thrown value ('ECONNREFUSED', …), or null. */
export function systemCodeOf(thrown: unknown): string | null {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return null;
  return typeof thrown.code === 'string' ? thrown.code : null;
}

const OWN_SHORTAGES = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']);

/** isOwnShortage: whether this machine, not the backend, lacked descriptors, ports or memory for a connection. */
export function isOwnShortage(error: unknown): boolean {
  return OWN_SHORTAGES.has(systemCodeOf(error) ?? '');
}
