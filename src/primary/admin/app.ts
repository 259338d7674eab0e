/** The types of the framework as this folder uses them, and what every call gets: a description and a deadline. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  RawServerDefault,
  RouteOptions,
} from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { toError } from '../../contract/errors.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { HttpProblem, PROBLEM_TYPE, problemSchema } from './problems.ts';

/** Paths of probes. They need no token, and wait for no other call. */
export const PROBES: ReadonlySet<string> = new Set(['/livez', '/readyz']);

export type AdminApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** Any call can be refused with these: for its token, its Host or its deadline. */
const COMMON_PROBLEMS = [401, 403, 429, 503];
const BODY_PROBLEMS = [400, 413, 415, 422];

interface CallSchema {
  params?: z.ZodType;
  headers?: z.ZodType;
  querystring?: z.ZodType;
  body?: z.ZodType;
  response: Record<number, unknown>;
}

/**
 * call makes the options of a route: its schemas, and what /openapi.json and docs/admin-api.md say about it.
 * @param summary without a full stop
 * @param refusals statuses besides those of COMMON_PROBLEMS and, for a call with a body, BODY_PROBLEMS
 */
export function call<S extends CallSchema>(tag: string, summary: string, refusals: number[], schema: S) {
  const statuses = [...COMMON_PROBLEMS, ...(schema.body ? BODY_PROBLEMS : []), ...refusals];
  const refused = { description: 'Refused', content: { [PROBLEM_TYPE]: { schema: problemSchema } } };
  const problems = Object.fromEntries(statuses.map((status) => [status, refused]));
  const response: S['response'] = { ...schema.response, ...problems };
  return { schema: { ...schema, tags: [tag], summary, response } };
}

/** done is the answer without a body. */
export function done(description: string) {
  return { 204: z.null().meta({ description }) };
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** How long this route's handler may take, where the server's default is too short. */
    timeoutMs?: number;
    /** Changes nothing, although its method is one of a write: it leaves no line and no event, and admin.readToken may call it. */
    isRead?: boolean;
  }
  interface FastifyRequest {
    /** Its handler has begun and not ended, whether or not its caller still waits. */
    atWork: boolean;
  }
}

/** Calls that wait for their turn. Those for whom nobody waits go with each turn: so the places of answers bound the others. */
let waiting: { reply: FastifyReply; begin: () => void; leave: (reason: Error) => void }[] = [];

/**
 * Each call begins in a turn of the event loop of its own: a worker that asks for a bucket waits for one of them, not for all that have come.
 * Throws HttpProblem where the caller has left meanwhile, or was answered that it takes too long.
 */
function ownTurn(reply: FastifyReply): Promise<void> {
  return new Promise((begin, leave) => {
    if (waiting.push({ reply, begin, leave }) === 1) setImmediate(takeTurn);
  });
}

function takeTurn(): void {
  for (const { reply, leave } of waiting)
    if (nobodyWaits(reply)) leave(new HttpProblem(400, 'the caller no longer waits; nothing was done'));
  waiting = waiting.filter(({ reply }) => !nobodyWaits(reply));
  // Whoever may only read cannot keep out those who may write.
  const next = waiting.find(({ reply }) => reply.request.access === 'write') ?? waiting[0];
  waiting = waiting.filter((each) => each !== next);
  next?.begin();
  if (waiting.length > 0) setImmediate(takeTurn);
}

function nobodyWaits({ sent, request }: FastifyReply): boolean {
  return sent || request.socket.destroyed;
}

const NO_TURN = 'too many other calls are under way; nothing was done';
const TOO_LATE = 'the answer took too long; whether the call took effect is not known';

/**
 * limitHandler makes a route answer 503 after its deadline; called for each route as it is added. The framework's own
 * `handlerTimeout` does not work here: the `close` event of the request clears it, and that event comes when the body is read,
 * long before the handler is done.
 * @param onHandled called when the handler has ended, however late
 */
export function limitHandler(
  route: RouteOptions,
  defaultMs: number,
  onHandled: (request: FastifyRequest, failure: Error | null) => void,
): void {
  const { handler } = route;
  const timeoutMs = route.config?.timeoutMs ?? defaultMs;
  route.handler = function limited(request, reply) {
    let late = NO_TURN;
    const work = (async (): Promise<unknown> => {
      request.atWork = true;
      try {
        if (!PROBES.has(route.url)) await ownTurn(reply);
        late = TOO_LATE;
        return await handler.call(this, request, reply);
      } finally {
        request.atWork = false;
      }
    })();
    work.then(
      () => onHandled(request, null),
      (thrown: unknown) => {
        const err = toError(thrown);
        onHandled(request, err);
        // The caller has the 503 already, so only the log can tell.
        if (reply.sent) request.log.warn({ err }, 'an admin call failed after its deadline');
      },
    );
    return withDeadline(work, timeoutMs, () => new HttpProblem(503, late));
  };
}
