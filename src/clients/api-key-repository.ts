/**
 * The tables `api_keys` and `api_key_tombstones`: what the admin API writes and the feed reads. Digests go in and out as
 * base64url; the keys themselves never come here.
 */
import { LbError } from '../contract/errors.ts';
import type { Database, QueryFn, Row } from '../infra/postgres/postgres.ts';

/** ApiKeyView is what may be shown of a key. */
export interface ApiKeyView {
  keyId: string;
  /** What the operator called it; null: nothing. */
  name: string | null;
  /** ISO 8601. */
  createdAt: string;
}

export interface ApiKeyPage {
  /** In the order of their making. */
  items: ApiKeyView[];
  /** The `after` of the next page; null: this is the last. */
  next: string | null;
}

/** NewApiKey is a row to be. */
export interface NewApiKey {
  keyId: string;
  clientId: string;
  name: string | null;
  digest: string;
  secretId: string;
}

/** StoredKey is what the feed knows of a key. */
export interface StoredKey {
  digest: string;
  clientId: string;
  secretId: string;
}

/** What has changed; no digest is in both. */
export interface ApiKeyChanges {
  keys: StoredKey[];
  /** Digests. */
  removed: string[];
  /** Where to go on from, for changesSince. */
  horizon: string;
}

/** NOTIFY channel of every change of the table. */
export const API_KEYS_CHANNEL = 'sluice_api_keys';
/** More changes than this at once are for a full load, which reads in parts. */
const MAX_KEY_CHANGES = 50_000;
/** Holds for calls at the same moment, too. */
export const MAX_KEYS_PER_CLIENT = 1_000;
const LOAD_PART_ROWS = 5_000;
const LOAD_MS = 60_000;
const INSERT_MS = 10_000;

export class ApiKeyRepository {
  readonly #database: Database;
  readonly #writeListeners = new Set<() => void>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** onWrite calls back after each write of this process; the feed follows it, because NOTIFY may not exist or be late. */
  onWrite(listener: () => void): void {
    this.#writeListeners.add(listener);
  }

  /**
   * Throws client_not_found, or too_many_keys where the client has MAX_KEYS_PER_CLIENT. Calls for one client wait for each
   * other: only a statement that begins after the lock was got sees the keys of those before.
   */
  async insert({ keyId, clientId, name, digest, secretId }: NewApiKey): Promise<ApiKeyView> {
    const values = [keyId, clientId, name, Buffer.from(digest, 'base64url'), secretId, MAX_KEYS_PER_CLIENT];
    const row = await this.#database.transaction(INSERT_MS, async (query) => {
      const known = await query('select 1 from clients where client_id = $1 for no key update', [clientId]);
      return known.length === 0 ? null : (await query(INSERT_WITHIN_LIMIT, values))[0];
    });
    if (row === null) throw noClient(clientId);
    if (row === undefined)
      throw new LbError('too_many_keys', `the client ${clientId} has ${MAX_KEYS_PER_CLIENT} keys`);
    this.#tellWritten();
    return viewOf(row);
  }

  /**
   * list throws client_not_found.
   *
   * @param page limit ≥ 1; after: the keyId behind which the page starts, null: the first one
   */
  async list(clientId: string, page: { limit: number; after: string | null }): Promise<ApiKeyPage> {
    // A client without keys gives one row of nulls, an unknown one gives none.
    const rows = await this.#database.read(
      `select k.key_id, k.name, k.created_at from clients c
       left join lateral (
         select key_id, name, created_at from api_keys
         where client_id = c.client_id and key_id > $2 order by key_id limit $3
       ) k on true
       where c.client_id = $1 order by k.key_id`,
      [clientId, page.after ?? '', page.limit + 1],
    );
    if (rows.length === 0) throw noClient(clientId);
    const found = rows.filter((row) => row.key_id !== null).map(viewOf);
    const items = found.slice(0, page.limit);
    return { items, next: found.length > page.limit ? (items.at(-1)?.keyId ?? null) : null };
  }

  /** Leaves a tombstone. Throws key_not_found or client_not_found. */
  async remove(clientId: string, keyId: string): Promise<void> {
    const [row] = await this.#database.query(
      `with gone as (delete from api_keys where client_id = $1 and key_id = $2 returning key_id)
       select (select count(*)::integer from gone) as count,
         exists (select 1 from clients where client_id = $1) as known`,
      [clientId, keyId],
    );
    if (row?.count === 1) this.#tellWritten();
    else if (row?.known !== true) throw noClient(clientId);
    else throw new LbError('key_not_found', `the client ${clientId} has no key ${keyId}`);
  }

  /** loadAll hands out everything of one moment in parts and returns the horizon for changesSince. */
  loadAll(onPart: (keys: StoredKey[]) => void): Promise<string> {
    return this.#database.readSnapshot(LOAD_MS, async (query) => {
      const [row] = await query('select pg_snapshot_xmin(pg_current_snapshot())::text as horizon');
      await eachPart(query, (rows) => onPart(rows.map(storedOf)));
      return String(row?.horizon);
    });
  }

  /** changesSince works as ClientRepository.changesSince does. null: more than MAX_KEY_CHANGES, load all instead. */
  async changesSince(horizon: string): Promise<ApiKeyChanges | null> {
    const rows = await this.#database.read(CHANGES, [horizon, MAX_KEY_CHANGES + 1]);
    if (rows.length > MAX_KEY_CHANGES) return null;
    const next = rows.find((row) => row.kind === 'horizon');
    return {
      keys: rows.filter((row) => row.kind === 'key').map(storedOf),
      removed: rows.filter((row) => row.kind === 'tombstone').map(digestIn),
      horizon: String(next?.client_id),
    };
  }

  /** dropTombstones removes those of more than `days` ago; a follower that slept for longer has lost its connection. */
  async dropTombstones(days: number): Promise<void> {
    await this.#database.query(
      'delete from api_key_tombstones where deleted_at < clock_timestamp() - make_interval(days => $1)',
      [days],
    );
  }

  #tellWritten(): void {
    for (const listener of this.#writeListeners) listener();
  }
}

const INSERT_WITHIN_LIMIT = `
  insert into api_keys (key_id, client_id, name, digest, secret_id)
  select $1::text, $2::text, $3::text, $4::bytea, $5::text
  where (select count(*) from (select 1 from api_keys where client_id = $2 limit $6::integer) k) < $6::integer
  returning key_id, name, created_at`;

/** One statement is one snapshot: the rows and the next horizon belong together. */
const CHANGES = `
  select 'horizon' as kind, null::bytea as digest,
    pg_snapshot_xmin(pg_current_snapshot())::text as client_id, null as secret_id
  union all
  (select 'key', digest, client_id, secret_id from api_keys
    where changed_xid >= $1::text::xid8 and changed_xid < pg_snapshot_xmax(pg_current_snapshot()) limit $2)
  union all
  (select 'tombstone', digest, null, null from api_key_tombstones
    where changed_xid >= $1::text::xid8 and changed_xid < pg_snapshot_xmax(pg_current_snapshot()) limit $2)`;

/** Pages by key, so that no statement and no array grows with the table. */
async function eachPart(query: QueryFn, onRows: (rows: Row[]) => void): Promise<void> {
  let after = '';
  for (;;) {
    const rows = await query(
      'select key_id, digest, client_id, secret_id from api_keys where key_id > $1 order by key_id limit $2',
      [after, LOAD_PART_ROWS],
    );
    if (rows.length > 0) onRows(rows);
    if (rows.length < LOAD_PART_ROWS) return;
    after = String(rows.at(-1)?.key_id);
  }
}

function viewOf({ key_id: keyId, name, created_at: createdAt }: Row): ApiKeyView {
  if (typeof keyId !== 'string' || !(createdAt instanceof Date)) throw misfit();
  return { keyId, name: typeof name === 'string' ? name : null, createdAt: createdAt.toISOString() };
}

function storedOf(row: Row): StoredKey {
  const { client_id: clientId, secret_id: secretId } = row;
  if (typeof clientId !== 'string' || typeof secretId !== 'string') throw misfit();
  return { digest: digestIn(row), clientId, secretId };
}

function digestIn({ digest }: Row): string {
  if (!Buffer.isBuffer(digest)) throw misfit();
  return digest.toString('base64url');
}

function misfit(): LbError {
  return new LbError('schema_mismatch', 'a row of api_keys does not fit this program');
}

function noClient(clientId: string): LbError {
  return new LbError('client_not_found', `there is no client ${clientId}`);
}
