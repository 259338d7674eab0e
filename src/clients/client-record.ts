/** A client's canonical id, its row in the database, and the record that workers get. */
import { isIP } from 'node:net';
import { canonicalRange } from '../contract/addresses.ts';
import type { BucketLimits, ClientMode, ClientRecord } from '../contract/clients.ts';
import { LbError } from '../contract/errors.ts';
import { DEFAULT_NAME } from '../contract/settings.ts';

/** ClientInput is what an operator decides about a client; the shape of the admin API and of the table. */
export interface ClientInput {
  mode: ClientMode;
  /** Integer 1…1e9; null together with refillPerSecond: the policy's own. */
  capacity: number | null;
  /** Tokens per second, 1e-6…1e9. */
  refillPerSecond: number | null;
  /** By policy name; never holds `default`. */
  limits: Readonly<Record<string, BucketLimits>>;
}

/** Not `.` and `..`: URL libraries resolve them as path segments, so that such a client could not even be deleted. */
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}$/;

/**
 * canonicalClientId checks an id from outside and returns its one spelling, so that comparing texts decides whether two
 * name the same client; null: not an id. A name stays as it is; an address becomes what RFC 5952 writes; a range loses
 * its host bits, and one of a single address is that address. For the admin API.
 */
export function canonicalClientId(text: string): string | null {
  if (text.includes('/') || isIP(text) !== 0) return canonicalRange(text);
  return NAME.test(text) ? text : null;
}

/** Columns that clientRecordOf reads. */
export const CLIENT_COLUMNS = 'client_id, mode, capacity, refill_per_second, limits, version_us';

/**
 * clientRecordOf turns a row of CLIENT_COLUMNS into a record. Throws LbError schema_mismatch for a row that the table's
 * constraints should have refused: it must not become a wrong limit.
 */
export function clientRecordOf(row: Readonly<Record<string, unknown>>): ClientRecord {
  const { client_id: clientId, mode, capacity, refill_per_second: refillPerSecond } = row;
  if (typeof clientId !== 'string' || !isMode(mode)) throw misfit(row);
  const limits: Record<string, BucketLimits> = {};
  const own = limitsOf(capacity, refillPerSecond);
  if (own !== null) limits[DEFAULT_NAME] = own;
  if (typeof row.limits !== 'object' || row.limits === null) throw misfit(row);
  for (const [policy, value] of Object.entries<Partial<BucketLimits> | null>({ ...row.limits })) {
    const named = limitsOf(value?.capacity, value?.refillPerSecond);
    if (named === null) throw misfit(row);
    limits[policy] = named;
  }
  return { clientId, mode, limits, versionUs: versionOf(row) };
}

/** versionOf throws as clientRecordOf does. pg gives int8 as text; µs since the epoch stay exact in a number until 2255. */
export function versionOf(row: Readonly<Record<string, unknown>>): number {
  const versionUs = Number(row.version_us);
  if (!Number.isSafeInteger(versionUs)) throw misfit(row);
  return versionUs;
}

function isMode(value: unknown): value is ClientMode {
  return value === 'limit' || value === 'unlimited' || value === 'blocked';
}

/** null: not both are numbers. */
function limitsOf(capacity: unknown, refillPerSecond: unknown): BucketLimits | null {
  if (typeof capacity !== 'number' || typeof refillPerSecond !== 'number') return null;
  return { capacity, refillPerSecond };
}

function misfit(row: Readonly<Record<string, unknown>>): LbError {
  return new LbError('schema_mismatch', `the row of client ${row.client_id} does not fit this program`);
}
