/** The tables of migrations/0003_acme.sql. All methods throw what Database throws. */
import type { AcmeChallenge } from '../../contract/messages.ts';
import { MAX_ACME_CHALLENGES } from '../../contract/messages.ts';
import type { Database, Row } from '../../infra/postgres/postgres.ts';
import type { AcmeStore, Claim } from './store.ts';

/** The channel on which machines tell each other to look. */
export const ACME_CHANNEL = 'sluice_acme';

const CLAIM_MS = 10_000;
/** Longer than any order. */
const CHALLENGE_LIFE = "interval '15 minutes'";
/** Three looks that did not come: such a machine answers no challenge. */
const MACHINE_LIFE = "interval '30 seconds'";

interface SharedCertificate {
  name: string;
  /** null: that of the known version. */
  pem: string | null;
  version: string;
}

export class AcmeTables implements AcmeStore {
  readonly #database: Database;
  readonly #directory: string;

  constructor(database: Database, directory: string) {
    this.#database = database;
    this.#directory = directory;
  }

  /** The account is that of the first machine. */
  async accountKey(ownPem: string): Promise<string> {
    const params = [this.#directory, ownPem];
    await this.#database.query('insert into acme_accounts values ($1, $2) on conflict do nothing', params);
    const text = 'select key_pem from acme_accounts where directory = $1';
    const [row] = await this.#database.read(text, [this.#directory]);
    return String(row?.key_pem);
  }

  claim(name: string, known: string | null, holdMs: (failures: number) => number): Promise<Claim> {
    const key = [this.#directory, name];
    return this.#database.transaction(CLAIM_MS, async (query) => {
      await query(
        'insert into acme_certificates (directory, name) values ($1, $2) on conflict do nothing',
        key,
      );
      const [row] = await query(
        `select pem, failures, greatest(0, extract(epoch from not_before - clock_timestamp()) * 1000) as wait_ms
           from acme_certificates where directory = $1 and name = $2 for update`,
        key,
      );
      const [pem, waitMs, before] = [textOrNull(row?.pem), Number(row?.wait_ms), Number(row?.failures)];
      if (waitMs > 0 || (pem !== null && pem !== known))
        return { pem, isGranted: false, failures: before, waitMs };
      const failures = before + 1;
      await query(
        `update acme_certificates set failures = $3, not_before = clock_timestamp() + $4 * interval '1 ms'
           where directory = $1 and name = $2`,
        [...key, failures, holdMs(failures)],
      );
      return { pem, isGranted: true, failures, waitMs };
    });
  }

  async settle(name: string, failures: number, waitMs: number): Promise<void> {
    await this.#database.query(
      `update acme_certificates set failures = $3, not_before = clock_timestamp() + $4 * interval '1 ms'
         where directory = $1 and name = $2`,
      [this.#directory, name, failures, waitMs],
    );
  }

  async publish(name: string, pem: string): Promise<void> {
    await this.#database.query(
      `with written as (
         insert into acme_certificates (directory, name, pem) values ($1, $2, $3)
           on conflict (directory, name) do update
           set pem = excluded.pem, failures = 0, not_before = clock_timestamp(), version = default
       ) select pg_notify('${ACME_CHANNEL}', '')`,
      [this.#directory, name, pem],
    );
  }

  /** certificates reads those of these names; their text only where they have another version than the known one. */
  async certificates(
    names: readonly string[],
    known: ReadonlyMap<string, string>,
  ): Promise<SharedCertificate[]> {
    const rows = await this.#database.read(
      `select name, version, case when known.name is null then pem end as pem from acme_certificates
         left join unnest($3::text[], $4::bigint[]) as known (name, version) using (name, version)
         where directory = $1 and name = any($2) and pem is not null`,
      [this.#directory, [...names], [...known.keys()], [...known.values()]],
    );
    return rows.map((row) => ({
      name: String(row.name),
      pem: textOrNull(row.pem),
      version: String(row.version),
    }));
  }

  /** otherCertificates reads those that other authorities have issued for these names. */
  async otherCertificates(names: readonly string[]): Promise<{ name: string; pem: string }[]> {
    const rows = await this.#database.read(
      'select name, pem from acme_certificates where directory <> $1 and name = any($2) and pem is not null',
      [this.#directory, [...names]],
    );
    return rows.map(({ name, pem }) => ({ name: String(name), pem: String(pem) }));
  }

  /** challenges reads the open challenges of all machines; of too many the newest. */
  async challenges(): Promise<AcmeChallenge[]> {
    const rows = await this.#database.read(
      `select token, key_authorization from acme_challenges
         where expires_at > clock_timestamp() order by expires_at desc limit ${MAX_ACME_CHALLENGES}`,
    );
    return rows.map((row) => ({ token: String(row.token), keyAuthorization: String(row.key_authorization) }));
  }

  async openChallenge({ token, keyAuthorization }: AcmeChallenge): Promise<void> {
    await this.#database.query(
      `with gone as (delete from acme_challenges where expires_at <= clock_timestamp()),
         opened as (insert into acme_challenges values ($1, $2, clock_timestamp() + ${CHALLENGE_LIFE}))
       select pg_notify('${ACME_CHANNEL}', '')`,
      [token, keyAuthorization],
    );
  }

  async closeChallenge(token: string): Promise<void> {
    const text = `with closed as (delete from acme_challenges where token = $1) select pg_notify('${ACME_CHANNEL}', '')`;
    await this.#database.query(text, [token]);
  }

  /** noteMachine says that this machine is there, and which tokens all of its workers know. */
  async noteMachine(machine: string, tokens: readonly string[]): Promise<void> {
    await this.#database.query(
      `with gone as (delete from acme_machines where seen_at < clock_timestamp() - interval '1 hour')
       insert into acme_machines values ($1, $2, clock_timestamp())
         on conflict (machine) do update set tokens = excluded.tokens, seen_at = excluded.seen_at`,
      [machine, [...tokens]],
    );
  }

  async forgetMachine(machine: string): Promise<void> {
    await this.#database.query('delete from acme_machines where machine = $1', [machine]);
  }

  /** isKnownEverywhere tells whether all machines that are there have noted the token. */
  async isKnownEverywhere(token: string): Promise<boolean> {
    const rows: Row[] = await this.#database.read(
      `select from acme_machines
         where seen_at > clock_timestamp() - ${MACHINE_LIFE} and $1 <> all(tokens) limit 1`,
      [token],
    );
    return rows.length === 0;
  }
}

function textOrNull(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value);
}
