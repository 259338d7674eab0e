/** What worker and primary agree on about requests that become rows of the database (`audit.requests`). */
import type { Fitting } from './shape.ts';

/** Which requests: none, those that a limit refused, or all. */
export type AuditedRequests = 'off' | 'limited' | 'all';

/** The columns of a row, in its order. */
export const REQUEST_COLUMNS =
  'at, instance, number, request_id, client_ip, client_id, method, host, path, ' +
  'status, grpc_status, reason, bytes_in, bytes_out, total_ms, backend, route, policies';

export const REQUEST_ROWS = {
  count: 'number',
  /** In the text format of COPY, a line each; each begins with its time in ISO 8601, UTC, all on the same day. Some 64 KiB. */
  text: 'string',
} as const;
export type RequestRows = Fitting<{ fields: typeof REQUEST_ROWS }>;
