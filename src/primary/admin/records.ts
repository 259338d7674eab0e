/** What is kept of calls: a count of each answer, a line for each write and each refused caller, and an event for what a write has done. */
import type { FastifyRequest } from 'fastify';
import { systemClock } from '../../contract/clock.ts';
import type { EventActor, Severity } from '../../contract/events.ts';
import { UNMATCHED_ROUTE } from '../../contract/settings.ts';
import { FaultLog } from '../../infra/logging/fault-log.ts';
import type { AdminApp } from './app.ts';
import type { AdminParts } from './parts.ts';
import { toProblem } from './problems.ts';
import { sourceOf } from './wrong-tokens.ts';

/** AdminChange is what a write has changed, for the event log. */
export interface AdminChange {
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
    /** What a write is about and was asked for, in case that it fails and nobody knows how far it came. Its handler sets it first. */
    asked: { subject: string; asked?: unknown } | null;
    /** The handler of a write calls it when that has taken effect, before it waits for anything else: so events have the order of effects. */
    changed(change: AdminChange): void;
    /** changed was called. */
    isRecorded: boolean;
  }
}

/** recordAnswers counts every answer, and logs who changed something, and who tried to. */
export function recordAnswers(
  app: AdminApp,
  { gauges, logger }: Pick<AdminParts, 'gauges' | 'logger'>,
): void {
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
 * recordWrites makes an event of each write that took effect, or of which nobody knows whether it did. It returns what is to be called
 * when a handler has ended, also where its caller has left meanwhile or was answered that it takes too long.
 */
export function recordWrites(
  app: AdminApp,
  { events }: Pick<AdminParts, 'events'>,
  who: EventActor['who'],
): (request: FastifyRequest, failure: Error | null) => void {
  const record = (
    request: FastifyRequest,
    severity: Severity,
    { text, subject, ...values }: Partial<AdminChange> & Pick<AdminChange, 'text'>,
  ): void => {
    const { method, id: requestId, ip: from } = request;
    const about = { kind: 'admin', severity, text, actor: { who, from, requestId } } as const;
    const data = { method, path: pathOf(request), ...values };
    // The line is that of the answer.
    events.record({ ...about, subject: subject ?? null, data }, { line: null });
  };
  app.decorateRequest('asked', null);
  app.decorateRequest('isRecorded', false);
  app.decorateRequest('changed', function (this: FastifyRequest, change: AdminChange) {
    this.isRecorded = true;
    record(this, 'info', change);
  });
  return (request, failure) => {
    if (!isWrite(request) || request.isRecorded) return;
    const text = `${request.method} ${pathOf(request)}`;
    if (failure === null) {
      record(request, 'info', { text });
      return;
    }
    const { status, code, message } = toProblem(failure);
    if (status < 500) return;
    const end = code === 'database_unanswered' ? '' : ' failed';
    record(request, 'warning', { ...request.asked, text: `${text}${end}: ${message}` });
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
