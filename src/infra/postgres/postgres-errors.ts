/** What a failure of PostgreSQL, or of the connection to it, means for Sluice. */
import pg from 'pg';
import { type ErrorCode, LbError, toError } from '../../contract/errors.ts';

/**
 * SQLSTATE classes (PostgreSQL manual, appendix A) of a server that cannot serve now: connection trouble, refused credentials,
 * unknown database, no resources, operator intervention (shutdown, statement timeout), system error, internal error.
 */
const AWAY_CLASSES = new Set(['08', '28', '3D', '53', '57', '58', 'XX']);
/** Single states with the same meaning: read-only standby, lock timeout, serialization failure, deadlock, missing rights. */
const AWAY_STATES = new Set(['25006', '55P03', '40001', '40P01', '42501']);
/** admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped, idle_session_timeout, idle_in_transaction_session_timeout. */
const LAST_WORDS = new Set(['57P01', '57P02', '57P03', '57P04', '57P05', '25P03']);
/** Tables, columns, functions, schemas or types that the program expects and the database does not have. */
const SCHEMA_STATES = new Set(['42P01', '42703', '42883', '3F000', '42704']);

/**
 * mapDatabaseError turns what pg threw into an LbError, whose cause it becomes: `database_unavailable` (the server cannot be
 * reached or cannot serve), `schema_mismatch`, or `internal_error` (the statement or its data: see sqlStateOf, constraintOf).
 */
export function mapDatabaseError(thrown: unknown, doing: string): LbError {
  if (thrown instanceof LbError) return thrown;
  const error = toError(thrown);
  const code = codeFor(error);
  const prefix = code === 'database_unavailable' ? 'the database is not available: ' : '';
  return new LbError(code, `${prefix}${doing}: ${reasonOf(error)}`, { cause: error });
}

/** isConnectionLost tells whether the connection broke or the server ends it; false: only the statement failed. */
export function isConnectionLost(thrown: unknown): boolean {
  const state = sqlStateOf(thrown);
  return state === null || state.startsWith('08') || LAST_WORDS.has(state);
}

/** sqlStateOf is the five-letter SQLSTATE of an error or of its cause; null: it did not come from the server. */
export function sqlStateOf(thrown: unknown): string | null {
  return serverErrorOf(thrown)?.code ?? null;
}

/** constraintOf is the name of the violated constraint of an error or of its cause; null: none. */
export function constraintOf(thrown: unknown): string | null {
  return serverErrorOf(thrown)?.constraint ?? null;
}

function serverErrorOf(thrown: unknown): pg.DatabaseError | null {
  for (let error = thrown, depth = 0; error instanceof Error && depth < 5; error = error.cause, depth++) {
    if (error instanceof pg.DatabaseError) return error;
  }
  return null;
}

function codeFor(error: Error): ErrorCode {
  const state = sqlStateOf(error);
  // Without a state the server gave no answer: refused, reset, timed out or closed.
  if (state === null) return 'database_unavailable';
  if (SCHEMA_STATES.has(state)) return 'schema_mismatch';
  if (AWAY_STATES.has(state) || AWAY_CLASSES.has(state.slice(0, 2))) return 'database_unavailable';
  return 'internal_error';
}

/** An AggregateError (one host name, several addresses) has an empty message of its own. */
function reasonOf(error: Error): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map((each) => toError(each).message).join('; ');
  }
  return error.message;
}
