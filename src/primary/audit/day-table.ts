/** A table with a partition per day (UTC), and its pages, the newest row first. All methods throw what Database throws. */
import { LbError, toError } from '../../contract/errors.ts';
import type { Database, Row } from '../../infra/postgres/postgres.ts';
import { constraintOf, isConnectionLost, sqlStateOf } from '../../infra/postgres/postgres-errors.ts';

/** Where a page begins: behind this row. */
export interface AuditCursor {
  /** Since the epoch. */
  atUs: number;
  number: number;
  instance: string;
}

/** A page, and where the next one begins; null: there are no more. */
export interface AuditPage<Item> {
  items: Item[];
  next: AuditCursor | null;
}

export interface PageQuery {
  limit: number;
  after: AuditCursor | null;
  /** Of the first moment that counts. */
  sinceMs?: number | undefined;
  /** Only before this time. */
  untilMs?: number | undefined;
}

/** Machines take turns with the partitions. An advisory lock; the number is ours alone. */
const PARTITIONS_LOCK = 7_310_240_004;
const PARTITION_MS = 10_000;
const DAY_MS = 86_400_000;
const MAX_KNOWN_DAYS = 1_000;
const DAY = /^\d{4}-\d\d-\d\d$/;
/** check_violation: also for a row without a partition. */
const CHECK_VIOLATION = '23514';

export class DayTable {
  readonly database: Database;
  readonly #name: string;
  readonly #columns: string;
  /** Those whose partition was there. */
  readonly #days = new Set<string>();

  /** @param columns at, instance and number among them, which are the primary key */
  constructor(database: Database, name: string, columns: string) {
    this.database = database;
    this.#name = name;
    this.#columns = columns;
  }

  /** write calls insert, once the partitions of these days (2026-12-01, UTC) are there; and again where one is missing nevertheless. */
  async write(days: ReadonlySet<string>, insert: () => Promise<unknown>): Promise<void> {
    await this.#addDays(days);
    try {
      await insert();
    } catch (error) {
      if (!lacksPartition(error)) throw error;
      // Somebody has dropped a partition, or this is another database by now.
      this.#days.clear();
      await this.#addDays(days);
      await insert();
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
    const old = await this.database.read(
      `select relname from pg_inherits join pg_class on pg_class.oid = inhrelid
         where inhparent = to_regclass('${this.#name}') and relname ~ '^${this.#name}_[0-9]{8}$' and right(relname::text, 8) <
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

  /**
   * page reads rows that pass all of a set of filters: conditions with `?` for their value, undefined: it does not count. Of several sets
   * each may use an index of its own.
   */
  async page(
    { limit, after, sinceMs, untilMs }: PageQuery,
    sets: readonly Readonly<Record<string, unknown>>[],
  ): Promise<AuditPage<Row>> {
    const params: unknown[] = [limit + 1];
    const param = (value: unknown): string => `$${params.push(value)}`;
    const moment = (count: number, unit: 'millisecond' | 'microsecond'): string =>
      `timestamptz 'epoch' + ${param(count)}::float8 * interval '1 ${unit}'`;
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
    const inOrder = 'order by at desc, instance desc, number desc limit $1';
    const selects = sets.map((filters) => {
      const conditions = Object.entries(filters).flatMap(([condition, value]) =>
        value === undefined ? [] : condition.replaceAll('?', param(value)),
      );
      return `(select ${this.#columns}, (extract(epoch from at) * 1000000)::bigint as at_us from ${this.#name}
         where ${[...where, ...conditions].join(' and ')} ${inOrder})`;
    });
    const rows = await this.database.read(
      `select * from (${selects.join(' union ')}) as page ${inOrder}`,
      params,
    );
    const items = rows.slice(0, limit);
    const last = rows.length > limit ? items.at(-1) : undefined;
    return { items, next: last === undefined ? null : cursorOf(last) };
  }

  #drop(partition: string): Promise<void> {
    return this.database.transaction(PARTITION_MS, async (query) => {
      // Whoever reads or writes the table waits behind this one, which waits for those who read it already.
      await query("set local lock_timeout = '1s'");
      await query(`drop table if exists ${partition}`);
    });
  }

  async #addDays(days: ReadonlySet<string>): Promise<void> {
    if (this.#days.size > MAX_KNOWN_DAYS) this.#days.clear();
    for (const day of days) {
      if (!this.#days.has(day)) await this.#addDay(day);
      this.#days.add(day);
    }
  }

  /** Attaching waits for no reader, which `create table … partition of` does. Throws RangeError for what is no day. */
  async #addDay(day: string): Promise<void> {
    // It becomes part of statements.
    if (!DAY.test(day)) throw new RangeError(`${JSON.stringify(day)} is no day`);
    const parent = this.#name;
    const name = `${parent}_${day.replaceAll('-', '')}`;
    const nextDay = new Date(Date.parse(day) + DAY_MS).toISOString().slice(0, 10);
    await this.database.transaction(PARTITION_MS, async (query) => {
      await query('select pg_advisory_xact_lock($1)', [PARTITIONS_LOCK]);
      await query(`create table if not exists ${name} (like ${parent} including all)`);
      const attached = await query(`select from pg_inherits where inhrelid = '${name}'::regclass`);
      if (attached.length > 0) return;
      const values = `from ('${day} 00:00:00+00') to ('${nextDay} 00:00:00+00')`;
      await query(`alter table ${parent} attach partition ${name} for values ${values}`);
    });
  }
}

/** SQLSTATE classes of what is wrong with a row: its values, a constraint, its size, what a trigger says. */
const ROW_CLASSES = new Set(['22', '23', '54', 'P0']);

/** isOfRow tells whether a write failed for one of its rows, in the database or before; false: other rows would fail, too. */
export function isOfRow(error: unknown): boolean {
  // All that Database throws is one.
  if (!(error instanceof LbError)) return true;
  return ROW_CLASSES.has((sqlStateOf(error) ?? '').slice(0, 2)) && !lacksPartition(error);
}

/** lacksPartition tells whether a write failed because a row has a day without a partition. */
export function lacksPartition(error: unknown): boolean {
  return sqlStateOf(error) === CHECK_VIOLATION && constraintOf(error) === null;
}

/** timeOf is the time of a row in ISO 8601, UTC. */
export function timeOf({ at }: Row): string {
  return at instanceof Date ? at.toISOString() : String(at);
}

function cursorOf({ at_us: atUs, number, instance }: Row): AuditCursor {
  return { atUs: Number(atUs), number: Number(number), instance: String(instance) };
}
