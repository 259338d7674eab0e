/** The calls that show what Sluice does now, what is wrong, and what it did in the last hour. */
import * as z from 'zod';
import { HISTORY_SEC, historyView, statusView } from '../../contract/status.ts';
import { type AdminApp, call } from './app.ts';
import { numberText } from './paging.ts';
import type { AdminParts } from './parts.ts';

const historyQuery = z.strictObject({
  seconds: numberText(z.int().min(1).max(HISTORY_SEC).default(HISTORY_SEC)),
});

/** registerStatus adds the routes. */
export function registerStatus(app: AdminApp, { board }: AdminParts): void {
  app.get(
    '/api/v1/status',
    call('operation', 'What is wrong now, the traffic of the last ten seconds, and the workers', [], {
      response: { 200: statusView },
    }),
    async () => board.status(),
  );
  const summary = 'The last seconds, a sample for each: an hour at most, of this primary';
  app.get(
    '/api/v1/history',
    call('operation', summary, [422], { querystring: historyQuery, response: { 200: historyView } }),
    async ({ query: { seconds } }, reply) =>
      // To check 40,000 numbers would take longer than all the rest.
      reply.serializer(JSON.stringify).send(board.history(seconds)),
  );
}
