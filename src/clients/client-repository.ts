/**
 * The table `clients` for the admin API. Every write is one statement. Triggers write the versions and tombstones
 * (migrations/0001_clients.sql), so that workers also learn of a write by psql.
 */
import type { ClientRecord } from '../contract/clients.ts';
import { LbError } from '../contract/errors.ts';
import type { Database, Row } from '../infra/postgres/postgres.ts';
import { constraintOf, sqlStateOf } from '../infra/postgres/postgres-errors.ts';
import { CLIENT_COLUMNS, type ClientInput, clientRecordOf } from './client-record.ts';

export interface ClientPage {
  /** In ascending order of clientId, byte by byte. */
  items: ClientRecord[];
  /** The `after` of the next page; null: this is the last. */
  next: string | null;
}

/** Which version a write may find, decided by its own statement. null: also none; any: whichever; else one of these, in decimal. */
export type Expected = null | 'any' | readonly string[];

/** ClientChange is what a write found, and what it made of it. before: null: nothing. */
export interface ClientChange<Before = ClientRecord | null> {
  before: Before;
  record: ClientRecord;
}

/** Another writer may create or delete the client between the update and the insert; then both are tried again. */
const PUT_ROUNDS = 5;

const UNIQUE_VIOLATION = '23505';
const CHECK_VIOLATION = '23514';
const OUT_OF_RANGE = '22003';

const RETURNING = `returning ${CLIENT_COLUMNS}`;
const INSERT =
  'insert into clients (client_id, mode, capacity, refill_per_second, limits) values ($1, $2, $3, $4, $5)';

/** The parameters of a statement about one client, whose id is the first. */
type Values = readonly [clientId: string, ...others: unknown[]];

export class ClientRepository {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * @param page limit ≥ 1; after: the page begins after this clientId; null: with the first one; prefix: ids that begin with it, in
   * ASCII; absent: all
   */
  async list(page: { limit: number; after: string | null; prefix?: string }): Promise<ClientPage> {
    const { prefix = '' } = page;
    const [where, bounds] =
      prefix === '' ? ['', []] : [' and client_id >= $3 and client_id < $4', [prefix, behind(prefix)]];
    const rows = await this.#database.read(
      `select ${CLIENT_COLUMNS} from clients where client_id > $1${where} order by client_id limit $2`,
      [page.after ?? '', page.limit + 1, ...bounds],
    );
    const items = rows.slice(0, page.limit).map(clientRecordOf);
    return { items, next: rows.length > page.limit ? (items.at(-1)?.clientId ?? null) : null };
  }

  /** Throws client_not_found. */
  async get(clientId: string): Promise<ClientRecord> {
    const text = `select ${CLIENT_COLUMNS} from clients where client_id = $1`;
    const record = await this.#find(text, [clientId], 'read');
    if (record === null) throw noClient(clientId);
    return record;
  }

  /** Throws client_exists; bad_request (status 422) for values outside of the table's constraints. */
  async create(clientId: string, input: ClientInput): Promise<ClientRecord> {
    const created = await this.#find(`${INSERT} ${RETURNING}`, valuesOf(clientId, input));
    return created!;
  }

  /** Creates or replaces. Throws client_changed where it finds another version, else as create, except client_exists. */
  async put(clientId: string, input: ClientInput, expected: Expected = null): Promise<ClientChange> {
    const values = valuesOf(clientId, input);
    // Not "on conflict do update", which holds the insert's locks while it waits for a row that is being deleted.
    for (let round = 0; round < PUT_ROUNDS; round++) {
      const updated = await this.#change(
        `update clients set mode = $2, capacity = $3, refill_per_second = $4, limits = $5`,
        [...values, versionsOf(expected)],
      );
      if (updated !== null) return updated;
      if (expected !== null) throw hasChanged(clientId);
      const created = await this.#find(`${INSERT} on conflict (client_id) do nothing ${RETURNING}`, values);
      if (created !== null) return { before: null, record: created };
    }
    const message = `the client ${clientId} is being created and deleted by others; try again`;
    throw new LbError('database_unavailable', message);
  }

  /** Absent fields stay; `limits` is replaced as a whole. Throws client_not_found, else as put. */
  async patch(
    clientId: string,
    patch: Partial<ClientInput>,
    expected: Expected = null,
  ): Promise<ClientChange<ClientRecord>> {
    const changed = await this.#change(
      `update clients set
         mode = coalesce($2, mode),
         capacity = case when $3 then $4 else capacity end,
         refill_per_second = case when $5 then $6 else refill_per_second end,
         limits = coalesce($7, limits)`,
      [
        clientId,
        patch.mode ?? null,
        patch.capacity !== undefined,
        patch.capacity ?? null,
        patch.refillPerSecond !== undefined,
        patch.refillPerSecond ?? null,
        patch.limits === undefined ? null : JSON.stringify(patch.limits),
        versionsOf(expected),
      ],
    );
    return changed ?? this.#missed(clientId, expected);
  }

  /** Leaves a tombstone. Returns what it found. Throws client_not_found or client_changed. */
  async remove(clientId: string, expected: Expected = null): Promise<ClientRecord> {
    const text = `delete from clients where client_id = $1 ${andVersion(2)} ${RETURNING}`;
    const removed = await this.#find(text, [clientId, versionsOf(expected)]);
    return removed ?? this.#missed(clientId, expected);
  }

  /** Throws why a statement found no row. */
  async #missed(clientId: string, expected: Expected): Promise<never> {
    if (expected === null) throw noClient(clientId);
    // Throws client_not_found where that is why.
    await this.get(clientId);
    throw hasChanged(clientId);
  }

  /** @param update without its condition @param values the last one: versionsOf. null: no such row */
  async #change(update: string, values: Values): Promise<ClientChange<ClientRecord> | null> {
    // Waits for other writers of the row, as the update would: so what it finds is what the update changes.
    const row = await this.#row(
      `with found as (
         select client_id as id, to_jsonb(clients) as before from clients
         where client_id = $1 ${andVersion(values.length)} for no key update
       )
       ${update} from found where client_id = id ${RETURNING}, before`,
      values,
    );
    if (row === null) return null;
    return { before: clientRecordOf(row.before as Row), record: clientRecordOf(row) };
  }

  async #find(text: string, values: Values, use?: 'read'): Promise<ClientRecord | null> {
    const row = await this.#row(text, values, use);
    return row && clientRecordOf(row);
  }

  async #row(text: string, values: Values, use: 'query' | 'read' = 'query'): Promise<Row | null> {
    try {
      const [row = null] = await this.#database[use](text, values);
      return row;
    } catch (error) {
      throw refusalOf(error, values[0]);
    }
  }
}

/** The first text behind all that begin with an ASCII prefix: the column compares bytes, so the primary key finds both ends. */
function behind(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}

/** @param place of versionsOf among the statement's parameters */
function andVersion(place: number): string {
  return `and ($${place}::text[] is null or version_us::text = any($${place}))`;
}

function versionsOf(expected: Expected): readonly string[] | null {
  return expected === 'any' ? null : expected;
}

function noClient(clientId: string): LbError {
  return new LbError('client_not_found', `there is no client ${clientId}`);
}

function hasChanged(clientId: string): LbError {
  return new LbError('client_changed', `the client ${clientId} is not what was expected any more`);
}

function valuesOf(clientId: string, input: ClientInput): Values {
  return [clientId, input.mode, input.capacity, input.refillPerSecond, JSON.stringify(input.limits)];
}

function refusalOf(error: unknown, clientId: string): unknown {
  const state = sqlStateOf(error);
  if (state === UNIQUE_VIOLATION) {
    return new LbError('client_exists', `the client ${clientId} exists already`, { cause: error });
  }
  if (state === CHECK_VIOLATION || state === OUT_OF_RANGE) {
    const rule = constraintOf(error) ?? 'a range of the table';
    const message = `the client ${clientId} does not keep to ${rule}`;
    return new LbError('bad_request', message, { cause: error, status: 422 });
  }
  return error;
}
