/** Calls of the public interface that a later version brings: told apart from calls that do not exist. */
import type { HTTPMethods } from 'fastify';
import type { AdminApp } from './app.ts';
import { HttpProblem } from './problems.ts';

const LATER: readonly (readonly [HTTPMethods, string])[] = [
  ['POST', '/api/v1/workers/restart'],
  ['GET', '/api/v1/audit'],
  ['GET', '/api/v1/events'],
  ['GET', '/'],
];

/** registerLater adds them; the description of the API leaves them out. */
export function registerLater(app: AdminApp): void {
  for (const [method, url] of LATER) {
    app.route({
      method,
      url,
      schema: { hide: true },
      // Before the body is read: what it says does not matter.
      onRequest: async () => {
        throw new HttpProblem(501, 'not supported in this version');
      },
      handler: async (_request, reply) => reply.send(),
    });
  }
}
