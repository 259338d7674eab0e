/** The call that shows requests as they end, with the fields of their access lines. */
import * as z from 'zod';
import { canonicalAddress, canonicalRange } from '../../contract/addresses.ts';
import type { RequestFilter, StatusRange } from '../../contract/request-watch.ts';
import type { WatchedRequests } from '../workers/request-watch.ts';
import { type AdminApp, call } from './app.ts';
import { EventStreams, eventText, streamResponse } from './event-streams.ts';
import { numberText } from './paging.ts';
import type { AdminParts } from './parts.ts';

const name = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[^\0]*$/, 'must not have a NUL');

/** requestFilters are of every call that shows requests. */
export const requestFilters = {
  client: name.optional().meta({
    description:
      'The id of a client, the address of a caller (`unix:`: at a Unix socket), or a range of addresses, as `2001:db8::/64`',
  }),
  route: name.optional(),
  status: z
    .string()
    .regex(/^[1-5](?:\d\d|xx)$/, 'must be a status such as 429, or a class such as 5xx')
    .optional()
    .meta({
      description:
        'A status such as 429, or a class such as 5xx. Where the answer had none of 400 and above and the request has failed, also the one that its reason or its status of gRPC means: 502 for `upstream_reset`, 503 for 14',
    }),
};

const requestsQuery = z.strictObject({
  ...requestFilters,
  slowerThanMs: numberText(z.int().min(0).max(86_400_000)).optional(),
  limit: numberText(z.int().min(1).max(1_000))
    .optional()
    .meta({ description: 'Ends after so many requests' }),
});

const SUMMARY = 'Follow requests as they end, with the fields of their access lines';
const DESCRIPTION =
  'Server-sent events. `request`: the fields of an access line, and `failure` (`none`, `client`, `server`: whose it is), also where the access log is off or sampled. `dropped`: the `count` of requests of a ' +
  '`worker` that passed the filter and are left out, because a worker sends 50 per second at most';

/** Each costs every worker up to 50 lines a second. */
const MAX_VIEWERS = 10;

/** registerRequests adds the route. */
export function registerRequests(app: AdminApp, { requestWatch }: Pick<AdminParts, 'requestWatch'>): void {
  const streams = new EventStreams(app, MAX_VIEWERS);
  app.get(
    '/api/v1/requests',
    {
      exposeHeadRoute: false,
      ...call('requests', SUMMARY, [422], {
        querystring: requestsQuery,
        response: streamResponse(DESCRIPTION),
      }),
    },
    async ({ query }, reply) => {
      let left = query.limit ?? Number.POSITIVE_INFINITY;
      let stop: (() => void) | null = null;
      const stream = streams.open(reply, () => stop?.());
      stop = requestWatch.open(filterOf(query), (seen) => {
        const lines = seen.lines.slice(0, left);
        left -= lines.length;
        stream.write(textOf({ ...seen, lines }));
        if (left > 0) return;
        // Now: a reader that does not take the end would cost workers lines for as long as it likes.
        stop?.();
        stream.end();
      });
    },
  );
}

function filterOf({ client, route, status, slowerThanMs }: z.infer<typeof requestsQuery>): RequestFilter {
  return {
    client: client === undefined ? null : (canonicalAddress(client) ?? canonicalRange(client) ?? client),
    route: route ?? null,
    status: status === undefined ? null : statusRange(status),
    slowerThanMs: slowerThanMs ?? null,
  };
}

/** statusRange reads `status` of requestFilters. */
export function statusRange(status: string): StatusRange {
  return { from: Number(status.replace('xx', '00')), to: Number(status.replace('xx', '99')) };
}

/** A line is JSON without line ends already. */
function textOf({ worker, lines, dropped }: WatchedRequests): string {
  const shown = lines.map((line) => `event: request\ndata: ${line}\n\n`).join('');
  return dropped === 0 ? shown : shown + eventText('dropped', { worker, count: dropped });
}
