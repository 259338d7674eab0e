/** What the primary asks workers for `GET /api/v1/requests`: to show the access lines of requests as they end. */
import type { Fitting } from './shape.ts';

const REQUEST_FILTER = {
  fields: {
    /** A client's id, the address of a client, or a range of addresses; canonical. */
    client: { nullOr: 'string' },
    route: { nullOr: 'string' },
    /** Statuses from…to, both included. */
    status: { nullOr: { fields: { from: 'number', to: 'number' } } },
    slowerThanMs: { nullOr: 'number' },
  },
} as const;
/** RequestFilter: a request is shown if it passes each part that is not null. */
export type RequestFilter = Fitting<typeof REQUEST_FILTER>;

export const WATCH_REQUESTS = {
  /** Names the viewer. */
  id: 'number',
  filter: REQUEST_FILTER,
} as const;

export const WATCHED_REQUESTS = {
  id: 'number',
  /** Access lines without their newline. */
  lines: { listOf: 'string' },
  /** Requests that passed the filter and were left out since the last such message. */
  dropped: 'number',
} as const;
