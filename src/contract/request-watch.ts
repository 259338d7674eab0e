/** What the primary asks workers for `GET /api/v1/requests`: to show the access lines of requests as they end. */
import type { Fitting } from './shape.ts';

const STATUS_RANGE = { fields: { from: 'number', to: 'number' } } as const;
/** StatusRange is from…to, both included. */
export type StatusRange = Fitting<typeof STATUS_RANGE>;

const REQUEST_FILTER = {
  fields: {
    /** A client's id, the address of a client, or a range of addresses; canonical. */
    client: { nullOr: 'string' },
    route: { nullOr: 'string' },
    /** Of the status, or of meantStatus. */
    status: { nullOr: STATUS_RANGE },
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
