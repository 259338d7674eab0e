/** The call that lists who sends most, or is limited most, right now. */
import * as z from 'zod';
import { LbError } from '../../contract/errors.ts';
import { TOP_ORDERS, TOP_WINDOW_SEC, type TopCaller, type TopOrder } from '../../contract/top-callers.ts';
import { type TopView, topView } from '../../contract/top-view.ts';
import { type AdminApp, call } from './app.ts';
import { numberText } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem } from './problems.ts';

const topQuery = z.strictObject({
  by: z
    .enum(TOP_ORDERS)
    .default('requests')
    .meta({ description: 'limited: requests that were refused with 429' }),
  limit: numberText(z.int().min(1).max(100).default(10)),
});

/** registerTop adds the route. */
export function registerTop(app: AdminApp, { topCallers }: AdminParts): void {
  app.get(
    '/api/v1/top',
    call('top', 'List who sends most requests right now, or is limited most', [422], {
      querystring: topQuery,
      response: { 200: topView },
    }),
    async ({ query: { by, limit } }) => {
      const { items, totalPerSec, errorPerSec, silentWorkers } = await topCallers
        .top(by, limit)
        .catch(refuse);
      return {
        windowSec: TOP_WINDOW_SEC,
        totalPerSec: rounded(totalPerSec),
        errorBoundPerSec: rounded(errorPerSec),
        silentWorkers,
        items: items.map((caller) => viewOf(caller, by, totalPerSec)),
      };
    },
  );
}

function viewOf(caller: TopCaller, by: TopOrder, totalPerSec: number): TopView['items'][number] {
  const { name, isClient, requestsPerSec, limitedPerSec } = caller;
  const counted = by === 'requests' ? requestsPerSec : limitedPerSec;
  return {
    client: name,
    kind: isClient ? 'client' : 'address',
    requestsPerSec: rounded(requestsPerSec),
    limitedPerSec: rounded(limitedPerSec),
    share: totalPerSec === 0 ? 0 : Math.min(1, rounded(counted / totalPerSec)),
  };
}

function refuse(thrown: unknown): never {
  if (thrown instanceof LbError && thrown.code === 'worker_timeout')
    throw new HttpProblem(503, 'no worker answered in time');
  throw thrown;
}

/** To four digits behind the point: a request in three hours is not 0. */
function rounded(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}
