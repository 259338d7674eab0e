/** The table of migrations/0004_audit.sql. All methods throw what Database throws. */
import type { EventEntry } from '../../contract/events.ts';
import type { Database, Row } from '../../infra/postgres/postgres.ts';
import { type AuditPage, DayTable, type PageQuery, timeOf } from './day-table.ts';

/** AuditEntry is an event and the name of the machine where it happened. */
export interface AuditEntry extends EventEntry {
  instance: string;
}

export interface AuditQuery extends PageQuery {
  kind?: string | undefined;
  /** A value of EventActor.who, or an address. */
  actor?: string | undefined;
  subject?: string | undefined;
}

const COLUMNS = 'at, instance, number, kind, severity, text, subject, actor, actor_address, request_id, data';

export class AuditTable {
  readonly #days: DayTable;

  constructor(database: Database) {
    this.#days = new DayTable(database, 'audit', COLUMNS);
  }

  /** write writes all rows or none. Those that are there already stay as they are. */
  write(entries: readonly AuditEntry[]): Promise<void> {
    const days = new Set(entries.map(({ at }) => at.slice(0, 10)));
    return this.#days.write(days, () => this.#insert(entries));
  }

  dropBefore(...args: Parameters<DayTable['dropBefore']>): ReturnType<DayTable['dropBefore']> {
    return this.#days.dropBefore(...args);
  }

  /** page reads the newest rows first. */
  async page({ kind, actor, subject, ...query }: AuditQuery): Promise<AuditPage<AuditEntry>> {
    const actorColumn = actor === 'admin' || actor === 'none' ? 'actor' : 'actor_address';
    const filters = { 'kind = ?': kind, [`${actorColumn} = ?`]: actor, 'subject = ?': subject };
    const { items, next } = await this.#days.page(query, [filters]);
    return { items: items.map(entryOf), next };
  }

  async #insert(entries: readonly AuditEntry[]): Promise<void> {
    const rows = entries.map(({ actor, ...entry }) => ({
      ...entry,
      actor: actor?.who ?? null,
      actor_address: actor?.from ?? null,
      request_id: actor?.requestId ?? null,
    }));
    await this.#days.database.append(
      `insert into audit (${COLUMNS}) select ${COLUMNS} from jsonb_to_recordset($1::jsonb) as entry (
         at timestamptz, instance text, number bigint, kind text, severity text, text text, subject text,
         actor text, actor_address text, request_id text, data jsonb
       ) on conflict do nothing`,
      [jsonOf(rows)],
    );
  }
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
  const { number, data, actor, actor_address: from, request_id: requestId } = row;
  return {
    instance: String(row.instance),
    number: Number(number),
    at: timeOf(row),
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
