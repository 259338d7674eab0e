/**
 * A deadline for every handler. The framework's own `handlerTimeout` is not used: the request's `close` event clears it, and
 * that comes once the body is read, long before the handler is done.
 */
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
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

/** limitHandler replaces a route's handler by one that answers 503 after its deadline; called as routes are added. */
export function limitHandler(route: RouteOptions, defaultMs: number): void {
  const { handler } = route;
  const deadlineMs = route.config?.deadlineMs ?? defaultMs;
  route.handler = function limited(request, reply) {
    const work = async (): Promise<unknown> => handler.call(this, request, reply);
    return inTime(work(), deadlineMs, { request, reply });
  };
}

async function inTime(
  work: Promise<unknown>,
  deadlineMs: number,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
): Promise<unknown> {
  work.catch((thrown: unknown) => {
    // The caller has the answer of the deadline, so only the log can be told.
    if (reply.sent) request.log.warn({ err: toError(thrown) }, 'an admin call failed after its deadline');
  });
  return withDeadline(work, deadlineMs, () => new HttpProblem(503, TOO_LATE));
}
