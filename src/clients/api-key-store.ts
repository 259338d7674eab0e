/** The API keys of clients as the admin API issues, lists and revokes them. The table `api_keys` has only their digests. */
import { LbError } from '../contract/errors.ts';
import type { Database, Row } from '../infra/postgres/postgres.ts';
import { digestOf, makeApiKey } from './api-key.ts';
import type { ApiKeySecret } from './api-key-secret.ts';

/** ApiKeyView is what may be shown of a key. */
export interface ApiKeyView {
  keyId: string;
  /** What the operator called it; null: nothing. */
  name: string | null;
  /** ISO 8601. */
  createdAt: string;
}

/** IssuedKey holds the key itself: shown to whoever asked for it, kept nowhere. */
export interface IssuedKey extends ApiKeyView {
  key: string;
}

/** Also holds for calls at the same moment. */
export const MAX_KEYS_PER_CLIENT = 1_000;
const INSERT_MS = 10_000;

export class ApiKeyStore {
  readonly #options: { database: Database; secret: ApiKeySecret };

  constructor(options: { database: Database; secret: ApiKeySecret }) {
    this.#options = options;
  }

  /**
   * issue makes a key. Throws client_not_found, too_many_keys where the client has MAX_KEYS_PER_CLIENT, secret_missing, or
   * what Database throws.
   */
  async issue(clientId: string, name: string | null): Promise<IssuedKey> {
    const { database, secret } = this.#options;
    const signing = await secret.ensure(() => this.#hasKeys());
    const { keyId, key } = makeApiKey();
    const values = [keyId, clientId, name, digestOf(signing.key, key), signing.id, MAX_KEYS_PER_CLIENT];
    // Calls for one client wait for each other: only a statement that begins once the lock is held sees the keys of the others.
    const row = await database.transaction(INSERT_MS, async (query) => {
      const known = await query('select 1 from clients where client_id = $1 for no key update', [clientId]);
      return known.length === 0 ? null : (await query(INSERT_WITHIN_LIMIT, values))[0];
    });
    if (row === null) throw noClient(clientId);
    if (row === undefined)
      throw new LbError('too_many_keys', `the client ${clientId} has ${MAX_KEYS_PER_CLIENT} keys`);
    return { ...viewOf(row), key };
  }

  /**
   * list gives keys in the order in which they were made. Throws client_not_found.
   *
   * @param page limit ≥ 1; after: the page begins after this keyId; null: with the first one
   * @returns next: the `after` of the next page; null: this is the last
   */
  async list(
    clientId: string,
    page: { limit: number; after: string | null },
  ): Promise<{ items: ApiKeyView[]; next: string | null }> {
    // A client without keys gives one row of nulls, an unknown one gives none.
    const rows = await this.#options.database.read(
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

  /** revoke leaves a tombstone. Throws key_not_found, client_not_found. */
  async revoke(clientId: string, keyId: string): Promise<void> {
    const [row] = await this.#options.database.query(
      `with gone as (delete from api_keys where client_id = $1 and key_id = $2 returning key_id)
       select (select count(*)::integer from gone) as count,
         exists (select 1 from clients where client_id = $1) as known`,
      [clientId, keyId],
    );
    if (row?.count === 1) return;
    if (row?.known !== true) throw noClient(clientId);
    throw new LbError('key_not_found', `the client ${clientId} has no key ${keyId}`);
  }

  async #hasKeys(): Promise<boolean> {
    return (await this.#options.database.read('select 1 from api_keys limit 1')).length > 0;
  }
}

const INSERT_WITHIN_LIMIT = `
  insert into api_keys (key_id, client_id, name, digest, secret_id)
  select $1::text, $2::text, $3::text, $4::bytea, $5::text
  where (select count(*) from (select 1 from api_keys where client_id = $2 limit $6::integer) k) < $6::integer
  returning key_id, name, created_at`;

function viewOf({ key_id: keyId, name, created_at: createdAt }: Row): ApiKeyView {
  if (typeof keyId !== 'string' || !(createdAt instanceof Date))
    throw new LbError('schema_mismatch', 'a row of api_keys does not fit this program');
  return { keyId, name: typeof name === 'string' ? name : null, createdAt: createdAt.toISOString() };
}

function noClient(clientId: string): LbError {
  return new LbError('client_not_found', `there is no client ${clientId}`);
}
