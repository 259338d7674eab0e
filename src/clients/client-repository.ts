/**
 * The tables `clients` and `client_tombstones`: what the admin API writes and the feed reads. Every write is one
 * statement, so that it is whole or not at all without a transaction of ours. Versions and tombstones are the work of
 * the table's triggers (migrations/0001_clients.sql), so that a hand with psql is followed as well.
 */
import type { ClientRecord, ClientTombstone } from '../contract/clients.ts';
import { LbError } from '../contract/errors.ts';
import type { Database, QueryFn, Row } from '../infra/postgres/postgres.ts';
import { constraintOf, sqlStateOf } from '../infra/postgres/postgres-errors.ts';
import { CLIENT_COLUMNS, type ClientInput, clientRecordOf, tombstoneOf } from './client-record.ts';

export interface ClientPage {
  /** In ascending order of clientId, byte by byte. */
  items: ClientRecord[];
  /** The `after` of the next page; null: this is the last. */
  next: string | null;
}

/** Receives what was read, in parts of at most PART_ROWS each; clients and tombstones never hold the same id. */
export type PartFn = (clients: ClientRecord[], tombstones: ClientTombstone[]) => void;

/** NOTIFY channel of every change of the table. */
export const CLIENTS_CHANNEL = 'sluice_clients';
/** Rows that are read, and turned into records, at a time: some 5 ms of work. */
export const PART_ROWS = 1_000;
/** Of all parts together; each has the deadline of a statement. */
const LOAD_MS = 600_000;
/** Between its update and its insert another writer may create or delete the client; each round needs another one. */
const PUT_ROUNDS = 5;

const UNIQUE_VIOLATION = '23505';
const CHECK_VIOLATION = '23514';
const OUT_OF_RANGE = '22003';

const RETURNING = `returning ${CLIENT_COLUMNS}`;
const INSERT =
  'insert into clients (client_id, mode, capacity, refill_per_second, limits) values ($1, $2, $3, $4, $5)';

export class ClientRepository {
  readonly #database: Database;
  readonly #writeListeners = new Set<() => void>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** onWrite calls back after each write of this process; the feed follows it, because NOTIFY may not exist or be late. */
  onWrite(listener: () => void): void {
    this.#writeListeners.add(listener);
  }

  /** @param page limit ≥ 1; after: the clientId behind which the page starts, null: the first one */
  async list(page: { limit: number; after: string | null }): Promise<ClientPage> {
    const rows = await this.#database.query(
      `select ${CLIENT_COLUMNS} from clients where client_id > $1 order by client_id limit $2`,
      [page.after ?? '', page.limit + 1],
    );
    const items = rows.slice(0, page.limit).map(clientRecordOf);
    return { items, next: rows.length > page.limit ? (items.at(-1)?.clientId ?? null) : null };
  }

  /** Throws client_not_found. */
  async get(clientId: string): Promise<ClientRecord> {
    return found(
      await this.#database.query(`select ${CLIENT_COLUMNS} from clients where client_id = $1`, [clientId]),
      clientId,
    );
  }

  /** Throws client_exists; bad_request (status 422) for values outside of the table's constraints. */
  async create(clientId: string, input: ClientInput): Promise<ClientRecord> {
    return found(await this.#write(`${INSERT} ${RETURNING}`, valuesOf(clientId, input), clientId), clientId);
  }

  /** Creates or replaces. Throws as create, but for client_exists. */
  async put(clientId: string, input: ClientInput): Promise<{ record: ClientRecord; created: boolean }> {
    const values = valuesOf(clientId, input);
    // Not "on conflict do update": it would hold the insert's locks while it waits for a row that is being deleted.
    for (let round = 0; round < PUT_ROUNDS; round++) {
      const [updated] = await this.#write(
        `update clients set mode = $2, capacity = $3, refill_per_second = $4, limits = $5 where client_id = $1 ${RETURNING}`,
        values,
        clientId,
      );
      if (updated !== undefined) return { record: clientRecordOf(updated), created: false };
      const [created] = await this.#write(
        `${INSERT} on conflict (client_id) do nothing ${RETURNING}`,
        values,
        clientId,
      );
      if (created !== undefined) return { record: clientRecordOf(created), created: true };
    }
    throw new LbError(
      'database_unavailable',
      `the client ${clientId} is being created and deleted by others; try again`,
    );
  }

  /** Absent fields stay; `limits` is replaced as a whole. Throws client_not_found, else as create. */
  async patch(clientId: string, patch: Partial<ClientInput>): Promise<ClientRecord> {
    const rows = await this.#write(
      `update clients set
         mode = coalesce($2, mode),
         capacity = case when $3 then $4 else capacity end,
         refill_per_second = case when $5 then $6 else refill_per_second end,
         limits = coalesce($7, limits)
       where client_id = $1 ${RETURNING}`,
      [
        clientId,
        patch.mode ?? null,
        patch.capacity !== undefined,
        patch.capacity ?? null,
        patch.refillPerSecond !== undefined,
        patch.refillPerSecond ?? null,
        patch.limits === undefined ? null : JSON.stringify(patch.limits),
      ],
      clientId,
    );
    return found(rows, clientId);
  }

  /** Leaves a tombstone. Throws client_not_found. */
  async remove(clientId: string): Promise<void> {
    const rows = await this.#write(
      'delete from clients where client_id = $1 returning client_id',
      [clientId],
      clientId,
    );
    if (rows.length === 0) throw notFound(clientId);
  }

  /** loadAll hands out everything of one moment and returns the horizon for changesSince. */
  loadAll(onPart: PartFn): Promise<string> {
    return this.#database.readSnapshot(LOAD_MS, async (query) => {
      const horizon = await horizonOf(query);
      await eachPart(query, { text: `select ${CLIENT_COLUMNS} from clients` }, (rows) =>
        onPart(rows.map(clientRecordOf), []),
      );
      await eachPart(query, { text: 'select client_id, version_us from client_tombstones' }, (rows) =>
        onPart([], rows.map(tombstoneOf)),
      );
      return horizon;
    });
  }

  /**
   * changesSince hands out what was changed by transactions that were not finished when `since` was taken, however late
   * they commit: a horizon is the oldest transaction still running then, and every row carries the one that wrote it.
   * Some of it may be known already: compare versions. Returns the next horizon.
   */
  async changesSince(since: string, onPart: PartFn): Promise<string> {
    const rows = await this.#database.read(CHANGES, [since, PART_ROWS + 1]);
    const clients = rows.filter((row) => row.kind === 'client');
    const tombstones = rows.filter((row) => row.kind === 'tombstone');
    if (clients.length > PART_ROWS || tombstones.length > PART_ROWS)
      return this.#manyChangesSince(since, onPart);
    if (rows.length > 1) onPart(clients.map(clientRecordOf), tombstones.map(tombstoneOf));
    return String(rows.find((row) => row.kind === 'horizon')?.client_id);
  }

  #manyChangesSince(since: string, onPart: PartFn): Promise<string> {
    return this.#database.readSnapshot(LOAD_MS, async (query) => {
      const horizon = await horizonOf(query);
      await eachPart(query, { text: CHANGED_CLIENTS, params: [since] }, (rows) =>
        onPart(rows.map(clientRecordOf), []),
      );
      await eachPart(query, { text: CHANGED_TOMBSTONES, params: [since] }, (rows) =>
        onPart([], rows.map(tombstoneOf)),
      );
      return horizon;
    });
  }

  /**
   * dropTombstones removes those of more than `days` ago and returns that moment in µs since the epoch on the database's
   * clock. No bucket is older than 30 days.
   */
  async dropTombstones(days: number): Promise<number> {
    const [row] = await this.#database.query(
      `with cutoff as materialized (select sluice_now_us() - $1::bigint * 86400000000 as us),
         dropped as (delete from client_tombstones where version_us < (select us from cutoff))
       select us from cutoff`,
      [days],
    );
    return Number(row?.us);
  }

  async #write(text: string, values: readonly unknown[], clientId: string): Promise<Row[]> {
    try {
      const rows = await this.#database.query(text, values);
      if (rows.length > 0) for (const listener of this.#writeListeners) listener();
      return rows;
    } catch (error) {
      throw refusalOf(error, clientId);
    }
  }
}

const CHANGED =
  'where changed_xid >= $1::text::xid8 and changed_xid < pg_snapshot_xmax(pg_current_snapshot())';
const CHANGED_CLIENTS = `select ${CLIENT_COLUMNS} from clients ${CHANGED}`;
const CHANGED_TOMBSTONES = `select client_id, version_us from client_tombstones ${CHANGED}`;

/** One statement is one snapshot: the rows and the next horizon belong together. */
const CHANGES = `
  select 'horizon' as kind, pg_snapshot_xmin(pg_current_snapshot())::text as client_id,
    null as mode, null::integer as capacity, null::float8 as refill_per_second, null::jsonb as limits, 0::bigint as version_us
  union all
  (select 'client', ${CLIENT_COLUMNS} from clients ${CHANGED} limit $2)
  union all
  (select 'tombstone', client_id, null, null, null, null, version_us from client_tombstones ${CHANGED} limit $2)`;

async function horizonOf(query: QueryFn): Promise<string> {
  const [row] = await query('select pg_snapshot_xmin(pg_current_snapshot())::text as horizon');
  return String(row?.horizon);
}

/** By a cursor, so that no array grows with the table, and nothing is sorted. */
async function eachPart(
  query: QueryFn,
  select: { text: string; params?: readonly unknown[] },
  onRows: (rows: Row[]) => void,
): Promise<void> {
  await query(`declare part no scroll cursor for ${select.text}`, select.params);
  for (;;) {
    const rows = await query(`fetch ${PART_ROWS} from part`);
    if (rows.length > 0) onRows(rows);
    if (rows.length < PART_ROWS) break;
  }
  await query('close part');
}

function valuesOf(clientId: string, input: ClientInput): unknown[] {
  return [clientId, input.mode, input.capacity, input.refillPerSecond, JSON.stringify(input.limits)];
}

function found(rows: readonly Row[], clientId: string): ClientRecord {
  const [row] = rows;
  if (row === undefined) throw notFound(clientId);
  return clientRecordOf(row);
}

function notFound(clientId: string): LbError {
  return new LbError('client_not_found', `there is no client ${clientId}`);
}

function refusalOf(error: unknown, clientId: string): unknown {
  const state = sqlStateOf(error);
  if (state === UNIQUE_VIOLATION) {
    return new LbError('client_exists', `the client ${clientId} exists already`, { cause: error });
  }
  if (state === CHECK_VIOLATION || state === OUT_OF_RANGE) {
    const rule = constraintOf(error) ?? 'a range of the table';
    return new LbError('bad_request', `the client ${clientId} does not keep to ${rule}`, {
      cause: error,
      status: 422,
    });
  }
  return error;
}
