/** The table of migrations/0005_audit_requests.sql and 0006_audit_grpc_status.sql. All methods throw what Database throws. */
import { canonicalAddress, canonicalRange, UNIX_PEER } from '../../contract/addresses.ts';
import { REQUEST_COLUMNS } from '../../contract/audited-requests.ts';
import { OUTCOMES, type Reason } from '../../contract/outcomes.ts';
import { meantStatus } from '../../contract/request-failure.ts';
import type { StatusRange } from '../../contract/request-watch.ts';
import type { Database, Row } from '../../infra/postgres/postgres.ts';
import { sqlStateOf } from '../../infra/postgres/postgres-errors.ts';
import { type AuditPage, DayTable, type PageQuery, timeOf } from './day-table.ts';
import type { RequestBatch } from './request-queue.ts';

export interface RequestQuery extends PageQuery {
  /** The id of a client, the address of a caller or UNIX_PEER, or a range of addresses. */
  client?: string | undefined;
  route?: string | undefined;
  /** Of the status, or of meantStatus. */
  status?: StatusRange | undefined;
}

/** AuditedRequest has the names of the access line. */
export type AuditedRequest = ReturnType<typeof requestOf>;

const UNIQUE_VIOLATION = '23505';
const UNTRANSLATABLE_CHARACTER = '22P05';

export class RequestTable {
  readonly #days: DayTable;

  constructor(database: Database) {
    this.#days = new DayTable(database, 'audit_requests', REQUEST_COLUMNS);
  }

  /**
   * write writes all rows of a batch or none; the same batch again changes nothing. Where the encoding of the database lacks a character,
   * each of the batch that is not ASCII becomes `?`: they come from callers alone.
   */
  async write({ days, text }: Pick<RequestBatch, 'days' | 'text'>): Promise<void> {
    try {
      await this.#days.write(days, () =>
        this.#copy(text).catch((error) => {
          if (sqlStateOf(error) !== UNTRANSLATABLE_CHARACTER) throw error;
          return this.#copy(text.replace(/\P{ASCII}/gu, '?'));
        }),
      );
    } catch (error) {
      // An earlier try has written them, and its answer was lost.
      if (sqlStateOf(error) !== UNIQUE_VIOLATION) throw error;
    }
  }

  dropBefore(...args: Parameters<DayTable['dropBefore']>): ReturnType<DayTable['dropBefore']> {
    return this.#days.dropBefore(...args);
  }

  /** page reads the newest rows first. */
  async page({ client, route, status, ...query }: RequestQuery): Promise<AuditPage<AuditedRequest>> {
    const callers = client === undefined ? [{}] : callerFilters(client);
    const ends = status === undefined ? [{}] : statusFilters(status);
    const sets = callers.flatMap((caller) => ends.map((end) => ({ 'route = ?': route, ...caller, ...end })));
    const { items, next } = await this.#days.page(query, sets);
    return { items: items.map(requestOf), next };
  }

  #copy(rows: string): Promise<void> {
    return this.#days.database.copy(`copy audit_requests (${REQUEST_COLUMNS}) from stdin`, rows);
  }
}

/** As the index audit_requests_client_ip has it: a caller may also be `unix:`. */
const ADDRESS = `nullif(client_ip, '${UNIX_PEER}')::inet`;

/** An address or a range may be the id of a client with keys, who calls from anywhere. */
function callerFilters(client: string): Record<string, string>[] {
  // Null in the index.
  if (client === UNIX_PEER)
    return [{ 'client_id = ?': client }, { [`${ADDRESS} is null and client_ip = ?`]: client }];
  const address = canonicalAddress(client) ?? canonicalRange(client);
  if (address === null) return [{ 'client_id = ?': client }];
  // The index gives the rows of one address in their order, and those of a range in that of their addresses.
  const operator = address.includes('/') ? '<<=' : '=';
  return [{ 'client_id = ?': address }, { [`${ADDRESS} ${operator} ?::text::inet`]: address }];
}

/** Ways to fail behind a status below 400: for a reason, or with a status of gRPC (17: any that is unknown). */
const HIDDEN_ENDS = [
  ...(Object.keys(OUTCOMES) as Reason[])
    .filter((reason) => reason !== 'ok')
    .map((reason) => ({ end: String(reason), meant: OUTCOMES[reason].status })),
  ...Array.from({ length: 17 }, (_, i) => ({
    end: `grpc_${i + 1}`,
    meant: meantStatus({ reason: 'ok', status: 200, grpcStatus: i + 1 }),
  })),
];
/** The index audit_requests_failed has the first line. */
const ENDED_BY = `status < 400 and (reason <> 'ok' or grpc_status > 0)
  and case reason when 'ok' then 'grpc_' || least(grpc_status, 17) else reason end = any(?::text[])`;

function statusFilters({ from, to }: StatusRange): Record<string, unknown>[] {
  // One value alone lets an index give the rows in their order.
  const sent = from === to ? { 'status = ?': from } : { 'status >= ?': from, 'status <= ?': to };
  const ends = HIDDEN_ENDS.filter(({ meant }) => meant >= from && meant <= to).map(({ end }) => end);
  return ends.length === 0 ? [sent] : [sent, { [ENDED_BY]: ends }];
}

function requestOf(row: Row) {
  const text = (name: string): string | null => (row[name] === null ? null : String(row[name]));
  return {
    time: timeOf(row),
    instance: String(row.instance),
    requestId: String(row.request_id),
    clientIp: String(row.client_ip),
    clientId: text('client_id'),
    method: text('method'),
    host: text('host'),
    path: text('path'),
    status: Number(row.status),
    grpcStatus: row.grpc_status === null ? null : Number(row.grpc_status),
    reason: String(row.reason),
    bytesIn: Number(row.bytes_in),
    bytesOut: Number(row.bytes_out),
    totalMs: Number(row.total_ms),
    backend: text('backend'),
    route: text('route'),
    policies: Array.isArray(row.policies) ? row.policies.map(String) : null,
  };
}
