/**
 * Bounds the answers under way, over all connections, and the work for them. Each kind of caller has places of its own, so that whoever has no token cannot keep
 * out those who have one, nor those who may only read those who may write, nor any of them Prometheus (but with
 * `publicMetrics` all scrape as one). /livez and /readyz need no place: their answers are short and made at once.
 */
import type { FastifyReply } from 'fastify';
import { PROBES } from './app.ts';
import { isDashboardFile } from './dashboard.ts';
import { HttpProblem } from './problems.ts';
import type { Access } from './security.ts';

/** `open`: what needs no token. `scraper`: /metrics. By what the token allows: also the streams, of which there are at most 60. */
const MAX_ANSWERS: Record<Access | 'open' | 'scraper', number> = {
  open: 64,
  scraper: 16,
  read: 128,
  write: 128,
};

type Caller = keyof typeof MAX_ANSWERS;

/** callerOf says whose place a call takes; null: it needs none. @param path without the query */
export function callerOf(path: string, access: Access): Caller | null {
  if (PROBES.has(path)) return null;
  if (path === '/metrics') return 'scraper';
  return isDashboardFile(path) ? 'open' : access;
}

/** Places is made once per admin port. */
export class Places {
  /** By kind of caller, the longest under way first. */
  readonly #answers: Record<Caller, Set<FastifyReply>> = {
    open: new Set(),
    scraper: new Set(),
    read: new Set(),
    write: new Set(),
  };

  /**
   * take gives an answer a place until it has left and its handler has ended. Where all are taken, a client that does not read its answer
   * loses its connection; throws HttpProblem 503 where all answers are still being made.
   */
  take(caller: Caller, reply: FastifyReply): void {
    const answers = this.#answers[caller];
    for (const each of answers) if (isOver(each)) answers.delete(each);
    if (answers.size >= MAX_ANSWERS[caller]) {
      const unread = [...answers].find(({ request, raw }) => raw.writableEnded && !request.atWork);
      if (unread === undefined) throw new HttpProblem(503, 'too many calls are under way');
      unread.raw.req.socket.destroy();
      answers.delete(unread);
    }
    answers.add(reply);
  }
}

/** Of several answers of a connection that is closed, only the first one may say so. */
function isOver({ request, raw }: FastifyReply): boolean {
  return !request.atWork && (raw.closed || raw.req.socket.destroyed);
}
