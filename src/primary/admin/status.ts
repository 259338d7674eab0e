/** The calls that show what Sluice does now, what is wrong, and what it did in the last hour. */
import * as z from 'zod';
import { HISTORY_SEC, historyView, statusView } from '../../contract/status.ts';
import { type AdminApp, call } from './app.ts';
import { numberText } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem } from './problems.ts';

const historyQuery = z.strictObject({
  seconds: numberText(z.int().min(1).max(HISTORY_SEC).default(HISTORY_SEC)),
});

/** Of different lengths, for each access, of one second; the whole is always there. */
const MAX_HISTORIES = 8;

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
  /** Up to the last sample, by their length. An hour is 250 KB, and takes as long as many other calls. */
  const histories = new Map<number, Buffer>();
  const made = { read: 0, write: 0 };
  app.get(
    '/api/v1/history',
    call('operation', summary, [422], { querystring: historyQuery, response: { 200: historyView } }),
    async ({ access, query: { seconds } }, reply) => {
      let bytes = histories.get(seconds);
      if (bytes === undefined) {
        if (made[access] >= MAX_HISTORIES && seconds !== HISTORY_SEC)
          throw new HttpProblem(503, 'histories of too many other lengths were asked for in this second');
        if (histories.size === 0) {
          const stop = board.onSample(() => {
            histories.clear();
            made.read = made.write = 0;
            stop();
          });
        }
        bytes = Buffer.from(JSON.stringify(board.history(seconds)));
        histories.set(seconds, bytes);
        made[access]++;
      }
      // To check 40,000 numbers would take longer than all the rest.
      return reply.type('application/json; charset=utf-8').send(bytes as never);
    },
  );
}
