/** The table of migrations/0004_audit.sql, and its partitions. All methods throw what Database throws. */
import { toError } from '../../contract/errors.ts';
import type { EventEntry } from '../../contract/events.ts';
import type { Database, Row } from '../../infra/postgres/postgres.ts';
import { constraintOf, isConnectionLost, sqlStateOf } from '../../infra/postgres/postgres-errors.ts';

/** AuditEntry is an event and the name of the machine where it happened. */
export interface AuditEntry extends EventEntry {
  instance: string;
}

/** Where a page begins: behind this row. */
export interface AuditPlace {
  /** Since the epoch. */
  atUs: number;
  number: number;
  instance: string;
}

export interface AuditQuery {
  limit: number;
  after: AuditPlace | null;
  /** Of the first moment that counts. */
  sinceMs?: number | undefined;
  /** Of the first moment that does not count any more. */
  untilMs?: number | undefined;
  kind?: string | undefined;
  /** A value of EventActor.who, or an address. */
  actor?: string | undefined;
  subject?: string | undefined;
}

/** Machines take turns with the partitions. An advisory lock; the number is ours alone. */
const PARTITIONS_LOCK = 7_310_240_004;
const PARTITION_MS = 10_000;
const DAY_MS = 86_400_000;
const MAX_KNOWN_DAYS = 1_000;
/** check_violation: also for a row without a partition. */
const CHECK_VIOLATION = '23514';
const COLUMNS = 'at, instance, number, kind, severity, text, subject, actor, actor_address, request_id, data';

export class AuditTable {
  readonly #database: Database;
  /** Those whose partition was there. */
  readonly #days = new Set<string>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** write writes all rows or none. Those that are there already stay as they are. */
  async write(entries: readonly AuditEntry[]): Promise<void> {
    await this.#addDays(entries);
    try {
      await this.#insert(entries);
    } catch (error) {
      if (sqlStateOf(error) !== CHECK_VIOLATION) throw error;
      // Somebody has dropped a partition, or this is another database by now.
      this.#days.clear();
      await this.#addDays(entries);
      await this.#insert(entries);
    }
  }

  /**
   * dropBefore drops the partitions of days that ended this long ago, on the clock of the database. One that cannot be dropped stays, and
   * the others go.
   * @param isOver asked before each: the others wait for the next time
   */
  async dropBefore(
    ageMs: number,
    isOver: () => boolean = () => false,
  ): Promise<{ dropped: string[]; kept: { partition: string; error: Error }[] }> {
    const old = await this.#database.read(
      `select relname from pg_inherits join pg_class on pg_class.oid = inhrelid
         where inhparent = 'audit'::regclass and relname ~ '^audit_[0-9]{8}$' and right(relname::text, 8) <
           to_char((clock_timestamp() - $1 * interval '1 millisecond') at time zone 'UTC', 'YYYYMMDD')
         order by relname`,
      [ageMs],
    );
    const dropped: string[] = [];
    const kept: { partition: string; error: Error }[] = [];
    for (const { relname } of old) {
      if (isOver()) break;
      const partition = String(relname);
      try {
        await this.#drop(partition);
        dropped.push(partition);
      } catch (thrown) {
        if (isConnectionLost(thrown)) throw thrown;
        kept.push({ partition, error: toError(thrown) });
      }
    }
    return { dropped, kept };
  }

  #drop(partition: string): Promise<void> {
    return this.#database.transaction(PARTITION_MS, async (query) => {
      // Whoever reads or writes the table waits behind this one, which waits for those who read it already.
      await query("set local lock_timeout = '1s'");
      await query(`drop table if exists ${partition}`);
    });
  }

  /** page reads the newest rows first. `next`: the place of its last row; null: there are no more. */
  async page({
    limit,
    after,
    ...filter
  }: AuditQuery): Promise<{ items: AuditEntry[]; next: AuditPlace | null }> {
    const params: unknown[] = [limit + 1];
    const param = (value: unknown): string => `$${params.push(value)}`;
    const moment = (count: number, unit: 'millisecond' | 'microsecond'): string =>
      `timestamptz 'epoch' + ${param(count)}::float8 * interval '1 ${unit}'`;
    const { sinceMs, untilMs, kind, actor, subject } = filter;
    const where = ['true'];
    if (after !== null) {
      const at = moment(after.atUs, 'microsecond');
      // The first one alone tells which partitions need not be read.
      where.push(`at <= ${at}`);
      where.push(
        `(at, instance, number) < (${at}, ${param(after.instance)}, ${param(after.number)}::bigint)`,
      );
    }
    if (sinceMs !== undefined) where.push(`at >= ${moment(sinceMs, 'millisecond')}`);
    if (untilMs !== undefined) where.push(`at < ${moment(untilMs, 'millisecond')}`);
    if (kind !== undefined) where.push(`kind = ${param(kind)}`);
    const actorColumn = actor === 'admin' || actor === 'none' ? 'actor' : 'actor_address';
    if (actor !== undefined) where.push(`${actorColumn} = ${param(actor)}`);
    if (subject !== undefined) where.push(`subject = ${param(subject)}`);
    const rows = await this.#database.read(
      `select ${COLUMNS}, (extract(epoch from at) * 1000000)::bigint as at_us from audit
         where ${where.join(' and ')} order by at desc, instance desc, number desc limit $1`,
      params,
    );
    const items = rows.slice(0, limit);
    const last = rows.length > limit ? items.at(-1) : undefined;
    return { items: items.map(entryOf), next: last === undefined ? null : placeOf(last) };
  }

  async #addDays(entries: readonly AuditEntry[]): Promise<void> {
    if (this.#days.size > MAX_KNOWN_DAYS) this.#days.clear();
    for (const day of new Set(entries.map(({ at }) => at.slice(0, 10)))) {
      if (!this.#days.has(day)) await this.#addDay(day);
      this.#days.add(day);
    }
  }

  /** Attaching waits for no reader, which `create table … partition of` does. @param day as 2026-12-01 */
  async #addDay(day: string): Promise<void> {
    const name = `audit_${day.replaceAll('-', '')}`;
    const nextDay = new Date(Date.parse(day) + DAY_MS).toISOString().slice(0, 10);
    await this.#database.transaction(PARTITION_MS, async (query) => {
      await query('select pg_advisory_xact_lock($1)', [PARTITIONS_LOCK]);
      await query(`create table if not exists ${name} (like audit including all)`);
      const attached = await query(`select from pg_inherits where inhrelid = '${name}'::regclass`);
      if (attached.length > 0) return;
      const values = `from ('${day} 00:00:00+00') to ('${nextDay} 00:00:00+00')`;
      await query(`alter table audit attach partition ${name} for values ${values}`);
    });
  }

  async #insert(entries: readonly AuditEntry[]): Promise<void> {
    const rows = entries.map(({ actor, ...entry }) => ({
      ...entry,
      actor: actor?.who ?? null,
      actor_address: actor?.from ?? null,
      request_id: actor?.requestId ?? null,
    }));
    await this.#database.query(
      `insert into audit (${COLUMNS}) select ${COLUMNS} from jsonb_to_recordset($1::jsonb) as entry (
         at timestamptz, instance text, number bigint, kind text, severity text, text text, subject text,
         actor text, actor_address text, request_id text, data jsonb
       ) on conflict do nothing`,
      [jsonOf(rows)],
    );
  }
}

/** SQLSTATE classes of what is wrong with a row: its values, a constraint, its size, what a trigger says. */
const ROW_CLASSES = new Set(['22', '23', '54', 'P0']);

/** isOfRow tells whether a write failed for one of its rows; false: other rows would fail, too. */
export function isOfRow(error: unknown): boolean {
  const state = sqlStateOf(error) ?? '';
  const hasNoPartition = state === CHECK_VIOLATION && constraintOf(error) === null;
  return ROW_CLASSES.has(state.slice(0, 2)) && !hasNoPartition;
}

/** PostgreSQL's text has neither NUL nor lone surrogates; both become U+FFFD. */
function jsonOf(rows: readonly object[]): string {
  const storable = (text: string): string => text.replaceAll('\0', '\uFFFD').toWellFormed();
  return JSON.stringify(rows, (_key, value: unknown) => {
    if (typeof value === 'string') return storable(value);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [storable(name), inner]));
  });
}

function entryOf(row: Row): AuditEntry {
  const { at, number, data, actor, actor_address: from, request_id: requestId } = row;
  return {
    instance: String(row.instance),
    number: Number(number),
    at: at instanceof Date ? at.toISOString() : String(at),
    kind: row.kind as AuditEntry['kind'],
    severity: row.severity as AuditEntry['severity'],
    text: String(row.text),
    subject: row.subject === null ? null : String(row.subject),
    actor:
      actor === null
        ? null
        : { who: actor as 'admin', from: String(from ?? ''), requestId: String(requestId ?? '') },
    data: data as AuditEntry['data'],
  };
}

function placeOf({ at_us: atUs, number, instance }: Row): AuditPlace {
  return { atUs: Number(atUs), number: Number(number), instance: String(instance) };
}
