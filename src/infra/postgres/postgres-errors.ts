/** What a failure of PostgreSQL or of the way to it means for Sluice. Branch on the LbError's code, never on text. */
import pg from 'pg';
import { type ErrorCode, LbError, toError } from '../../contract/errors.ts';

/**
 * SQLSTATE classes (PostgreSQL manual, appendix A) that say "this server cannot serve us now": connection trouble,
 * refused credentials, unknown database, no resources, operator intervention (shutdown, statement timeout), system error.
 */
const AWAY_CLASSES = new Set(['08', '28', '3D', '53', '57', '58', 'XX']);
/** Single states of that kind: a standby after a failover, a lock not got, serialization, deadlock, missing rights. */
const AWAY_STATES = new Set(['25006', '55P03', '40001', '40P01', '42501']);
/** admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped, idle_session_timeout, idle_in_transaction_session_timeout. */
const LAST_WORDS = new Set(['57P01', '57P02', '57P03', '57P04', '57P05', '25P03']);
/** Tables, columns, functions, schemas or types that the program expects and the database does not have. */
const SCHEMA_STATES = new Set(['42P01', '42703', '42883', '3F000', '42704']);

/**
 * mapDatabaseError turns whatever pg threw into an LbError: `database_unavailable` (the server, or the way to it, is
 * away), `schema_mismatch` (another schema than this program's) or `internal_error` (our statement, our data: see
 * sqlStateOf and constraintOf). The original is the cause.
 */
export function mapDatabaseError(thrown: unknown, doing: string): LbError {
  if (thrown instanceof LbError) return thrown;
  const error = toError(thrown);
  const code = codeFor(error);
  const prefix = code === 'database_unavailable' ? 'the database is not available: ' : '';
  return new LbError(code, `${prefix}${doing}: ${reasonOf(error)}`, { cause: error });
}

/**
 * isConnectionLost tells a broken connection (no answer, or the server is ending it) from a statement that failed: a lock or
 * statement timeout, a deadlock, a violated constraint.
 */
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
  // Without a state the server said nothing: refused, reset, timed out, closed under us.
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
