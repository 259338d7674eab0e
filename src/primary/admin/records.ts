/** What is kept of calls: a count of each answer, a line for each write and each refused caller, and an event for what a write has done. */
import type { FastifyRequest } from 'fastify';
import { systemClock } from '../../contract/clock.ts';
import type { EventActor } from '../../contract/events.ts';
import { UNMATCHED_ROUTE } from '../../contract/settings.ts';
import { FaultLog } from '../../infra/logging/fault-log.ts';
import type { AdminApp } from './app.ts';
import type { AdminParts } from './parts.ts';
import { toProblem } from './problems.ts';
import { sourceOf } from './wrong-tokens.ts';

/** AdminChange is what a write has changed, for the event log. */
interface AdminChange {
  /** A sentence without its end, such as `client acme was created`. */
  text: string;
  /** Such as `client acme`. */
  subject: string;
  /** As the admin API shows them; left out where they are not known. */
  before?: unknown;
  after?: unknown;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The handler of a write sets it. null: it has changed nothing, or has not said what. */
    change: AdminChange | null;
  }
}

/** recordAnswers counts every answer, and logs who changed something, and who tried to. */
export function recordAnswers(
  app: AdminApp,
  { gauges, logger }: Pick<AdminParts, 'gauges' | 'logger'>,
): void {
  app.decorateRequest('change', null);
  // Of a source and status one line per second, and 100 in all: whoever has no token could otherwise crowd out other lines.
  const refusals = new FaultLog(systemClock, (facts) => logger.warn(facts, 'admin call refused'));
  app.addHook('onResponse', async (request, { statusCode: status }) => {
    const { method, id, ip, routeOptions } = request;
    gauges.countAdminRequest(routeOptions.url ?? UNMATCHED_ROUTE, status);
    const facts = { requestId: id, peer: ip, method, path: pathOf(request), status };
    if (status === 401 || status === 403) refusals.note(`${sourceOf(ip)} ${status}`, facts);
    // Of those with wrong tokens the first is logged, by security.ts.
    else if (status !== 429 && isWrite(request)) logger.info(facts, 'admin write');
  });
}

/**
 * writeRecorder makes what is called when a handler has ended, also where its caller has left meanwhile or was answered that it takes too
 * long: a write is an event if it took effect, or if nobody knows whether it did.
 */
export function writeRecorder(
  { events }: Pick<AdminParts, 'events'>,
  who: EventActor['who'],
): (request: FastifyRequest, failure: Error | null) => void {
  return (request, failure) => {
    if (!isWrite(request)) return;
    const problem = failure === null ? null : toProblem(failure);
    if (problem !== null && problem.status < 500) return;
    const { method, id: requestId, ip: from, change } = request;
    const path = pathOf(request);
    const { text: done = `${method} ${path}`, subject = null, ...values } = change ?? {};
    const text = problem === null ? done : `${method} ${path} failed: ${problem.message}`;
    const severity = problem === null ? 'info' : 'warning';
    const about = { kind: 'admin', severity, text, subject, actor: { who, from, requestId } } as const;
    // The line is that of the answer.
    events.record({ ...about, data: { method, path, ...values } }, { line: null });
  };
}

/** isWrite: whether it may change something; for server.ts too, before the handler. */
export function isWrite({ method, routeOptions }: FastifyRequest): boolean {
  return method !== 'GET' && method !== 'HEAD' && routeOptions.config.isRead !== true;
}

/** pathOf is the path of a request as it was sent, without the query. */
export function pathOf({ raw }: Pick<FastifyRequest, 'raw'>): string {
  const [path = ''] = (raw.url ?? '/').replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '').split('?', 1);
  return path;
}
