/**
 * A deadline for every handler. The framework's own `handlerTimeout` does not work here: the `close` event of the request
 * clears it, and that event comes when the body is read, long before the handler is done.
 */
import type { RouteOptions } from 'fastify';
import { toError } from '../../contract/errors.ts';
import { withDeadline } from '../../infra/lifecycle.ts';
import { HttpProblem } from './problems.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Deadline of this route's handler, where the server's default is too short. */
    deadlineMs?: number;
  }
}

const TOO_LATE = 'the answer took too long; whether the call took effect is not known';

/** limitHandler makes a route answer 503 after its deadline; called for each route as it is added. */
export function limitHandler(route: RouteOptions, defaultMs: number): void {
  const { handler } = route;
  const deadlineMs = route.config?.deadlineMs ?? defaultMs;
  route.handler = function limited(request, reply) {
    const work = (async (): Promise<unknown> => handler.call(this, request, reply))();
    work.catch((thrown: unknown) => {
      // The caller has the 503 already, so only the log can tell.
      if (reply.sent) request.log.warn({ err: toError(thrown) }, 'an admin call failed after its deadline');
    });
    return withDeadline(work, deadlineMs, () => new HttpProblem(503, TOO_LATE));
  };
}
