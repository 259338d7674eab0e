/**
 * Reads clients, API keys and their tombstones from the database: everything, or what has changed since an earlier snapshot.
 *
 * Each read is a snapshot of PostgreSQL's, and each row carries the transaction that changed it last. The changes since a snapshot
 * are the rows of all transactions that it did not see: those that began later, and those that were running. So no change is
 * missed, however late a transaction commits, and a transaction that stays open costs nothing. Only rows of a restored backup
 * keep their old transactions, so the text of a snapshot also names the tables' files and triggers: other ones, and all is read.
 */
import { LbError } from '../contract/errors.ts';
import type { Database, QueryFn, Row } from '../infra/postgres/postgres.ts';
import { CLIENT_COLUMNS, clientRecordOf, versionOf } from './client-record.ts';
import type { RecordPacker } from './packed-record.ts';

/** Receives rows for packRow, at most PART_ROWS of each table at a time, in the order in which they became true. */
export type RowsFn = (rows: readonly Row[]) => void;

/** Rows that are read at a time, and turned into records: some 5 ms of work. */
export const PART_ROWS = 1_000;
/** For all parts together; each has the deadline of a statement. */
const LOAD_MS = 600_000;
/** How often newer changes are looked for while many are read. */
export const NEWER_MS = 200;
/** Ids of newer changes that are remembered until the many are read. */
const MAX_NEWER = 50_000;

/** Rows of all tables have these columns, so that one statement can read them: null where a table has none. */
const COLUMN_TYPES = {
  client_id: 'text',
  mode: 'text',
  capacity: 'integer',
  refill_per_second: 'float8',
  limits: 'jsonb',
  version_us: 'bigint',
  digest: 'bytea',
  secret_id: 'text',
};

/** @param own expressions by column */
function select(kind: string, own: Partial<Record<keyof typeof COLUMN_TYPES, string>>): string {
  const values: Record<string, string> = own;
  const columns = Object.entries(COLUMN_TYPES).map(
    ([name, type]) => `(${values[name] ?? 'null'})::${type} as ${name}`,
  );
  return `select '${kind}' as kind, ${columns.join(', ')}`;
}

const OWN_CLIENT = Object.fromEntries(CLIENT_COLUMNS.split(', ').map((name) => [name, name]));
const DELETED_US = 'extract(epoch from deleted_at) * 1000000';
/**
 * In the order in which a truncate or a restore locks them: in another order each could wait for the other. Tombstones are handed
 * out first: a row that was inserted while another session deleted the same id has one, and the row counts.
 */
const TABLES = [
  `${select('client', OWN_CLIENT)} from clients`,
  `${select('client-tombstone', { client_id: 'client_id', version_us: 'version_us' })} from client_tombstones`,
  `${select('key', { client_id: 'client_id', digest: 'digest', secret_id: 'secret_id' })} from api_keys`,
  `${select('key-tombstone', { digest: 'digest', version_us: DELETED_US })} from api_key_tombstones`,
];
const NAMES = 'clients, client_tombstones, api_keys, api_key_tombstones';

/**
 * Two ranges of an index: transactions that began after the snapshot ($1: its end), and those that were running ($2). As parameters
 * they let the planner estimate well; with functions of PostgreSQL in their place it would read the whole table. The upper bound
 * leaves out rows from another server's backup, whose transactions lie in this server's future: every read would return them.
 */
const CHANGED = `
  where (changed_xid >= $1::xid8 or changed_xid = any ($2::xid8[]))
    and changed_xid < pg_snapshot_xmax(pg_current_snapshot())`;

/** A restore makes the tables, truncates them (new files) or disables triggers for a while. Every role may read both. */
const SNAPSHOT = `concat_ws(' ', pg_current_snapshot(),
  (select string_agg(pg_relation_filenode(t)::text, ',') from unnest('{${NAMES}}'::regclass[]) t),
  (select string_agg(xmin::text, ',' order by oid) from pg_trigger where tgrelid = any ('{${NAMES}}'::regclass[])))`;

/** One statement sees one snapshot, so the row that tells it belongs to the others. `desc`: tombstones first. */
const CHANGES = `${[
  select('snapshot', { client_id: SNAPSHOT }),
  ...TABLES.map((table) => `(${table} ${CHANGED} limit $3)`),
].join(' union all ')} order by kind desc`;

export class DirectoryReader {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** loadAll hands out everything of one moment and returns the snapshot for changesSince. */
  loadAll(onRows: RowsFn): Promise<string> {
    return this.#database.readSnapshot(LOAD_MS, async (query) => {
      const snapshot = await snapshotOf(query);
      for (const table of TABLES.toReversed()) await eachPart(query, table, [], onRows);
      return snapshot;
    });
  }

  /** changesSince hands out what has changed since a snapshot, or more. Returns the next one; null: everything must be read. */
  async changesSince(snapshot: string, onRows: RowsFn): Promise<string | null> {
    const few = await this.#fewChangesSince(snapshot);
    const next = few?.snapshot ?? (await this.#manyChangesSince(snapshot, onRows));
    const [before, now] = [snapshot, next].map((text) => text.slice(text.indexOf(' ')));
    if (now !== before) return null;
    if (few !== null && few.rows.length > 0) onRows(few.rows);
    return next;
  }

  /**
   * dropTombstones removes those of more than `days` ago and returns that moment in µs since the epoch on the database's
   * clock. No bucket is older than 30 days, and no follower goes on from a snapshot that old.
   */
  async dropTombstones(days: number): Promise<number> {
    const [row] = await this.#database.query(
      `with cutoff as materialized (select sluice_now_us() - $1::bigint * 86400000000 as us),
         clients_dropped as (delete from client_tombstones where version_us < (select us from cutoff)),
         keys_dropped as (delete from api_key_tombstones
           where deleted_at < clock_timestamp() - make_interval(days => $1::integer))
       select us from cutoff`,
      [days],
    );
    return Number(row?.us);
  }

  /** null: more than PART_ROWS of a table. */
  async #fewChangesSince(snapshot: string): Promise<{ snapshot: string; rows: Row[] } | null> {
    const found = await this.#database.read(CHANGES, [...transactionsSince(snapshot), PART_ROWS + 1]);
    const counts = new Map<unknown, number>();
    for (const { kind } of found) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    if ([...counts.values()].some((count) => count > PART_ROWS)) return null;
    const marker = found.find(({ kind }) => kind === 'snapshot');
    return { snapshot: String(marker?.client_id), rows: found.filter((row) => row !== marker) };
  }

  /**
   * Reads many changes through a cursor, and looks for newer ones between its parts: a client that is blocked during an import
   * does not wait for its end. Rows of the cursor must not overwrite newer ones.
   */
  async #manyChangesSince(since: string, onRows: RowsFn): Promise<string> {
    const newer = new Set<string>();
    let snapshot = '';
    let readAtMs = performance.now();
    const onPart = async (rows: readonly Row[]): Promise<void> => {
      onRows(newer.size === 0 ? rows : rows.filter((row) => !newer.has(idOf(row))));
      const isDue = performance.now() - readAtMs >= NEWER_MS && newer.size < MAX_NEWER;
      if (!isDue || this.#database.singleSession) return;
      const few = await this.#fewChangesSince(snapshot);
      readAtMs = performance.now();
      if (few === null) return;
      for (const row of few.rows) newer.add(idOf(row));
      if (few.rows.length > 0) onRows(few.rows);
      snapshot = few.snapshot;
    };
    await this.#database.readSnapshot(LOAD_MS, async (query) => {
      snapshot = await snapshotOf(query);
      for (const table of TABLES.toReversed())
        await eachPart(query, `${table} ${CHANGED}`, transactionsSince(since), onPart);
    });
    return snapshot;
  }
}

/** packRow packs a row of a DirectoryReader; the view is good until the packer's next call. Throws LbError schema_mismatch. */
export function packRow(packer: RecordPacker, row: Row): Buffer {
  const { kind, digest, client_id: clientId, secret_id: secretId } = row;
  if (kind === 'client') return packer.client(clientRecordOf(row));
  if (kind === 'client-tombstone' && typeof clientId === 'string')
    return packer.tombstone(clientId, versionOf(row));
  if (kind === 'key-tombstone' && Buffer.isBuffer(digest))
    return packer.apiKeyTombstone(digest, versionOf(row));
  if (Buffer.isBuffer(digest) && typeof clientId === 'string' && typeof secretId === 'string')
    return packer.apiKey({ digest, clientId, secretId });
  throw new LbError('schema_mismatch', `a row (${String(kind)}) does not fit this program`);
}

function idOf({ digest, client_id: clientId }: Row): string {
  return Buffer.isBuffer(digest) ? `key ${digest.toString('base64')}` : `client ${String(clientId)}`;
}

/** @param snapshot `xmin:xmax:running,running…`, as PostgreSQL writes it, then files and triggers */
function transactionsSince(snapshot: string): [end: string, running: string[]] {
  const [, end = '', running = ''] = snapshot.split(/[: ]/);
  return [end, running === '' ? [] : running.split(',')];
}

/** Locks first: a table that is replaced between the snapshot and its cursor would look empty. */
async function snapshotOf(query: QueryFn): Promise<string> {
  await query(`lock table ${NAMES} in access share mode`);
  const [row] = await query(`select ${SNAPSHOT} as snapshot`);
  return String(row?.snapshot);
}

/** Reads through a cursor, so that no array grows with the table. */
async function eachPart(
  query: QueryFn,
  statement: string,
  params: readonly unknown[],
  onRows: (rows: readonly Row[]) => void | Promise<void>,
): Promise<void> {
  await query(`declare part no scroll cursor for ${statement}`, params);
  for (;;) {
    const rows = await query(`fetch ${PART_ROWS} from part`);
    if (rows.length > 0) await onRows(rows);
    if (rows.length < PART_ROWS) break;
  }
  await query('close part');
}
