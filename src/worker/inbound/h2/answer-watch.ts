/**
 * Watches the answers that wait because their client does not take them: how long, and how much memory they hold.
 *
 * One connection may have many of them, so those of a worker are bounded together (PendingMemory). The answer of which nothing has
 * left for the longest time is ended first: a client that reads slowly keeps its answers.
 */
import { HeldBytes, type PendingMemory } from '../../../http1/pending-bytes.ts';
import type { Http2Request } from './http2-request.ts';

/** What answers hold in a worker, as of the last looks, but for one answer of each connection: over HTTP/1.1 it would be as much. */
export const ANSWERS_MAX_BYTES = 134_217_728;

/** lookAtAnswers is called about once a second for each connection. It may end requests of this one. */
export function lookAtAnswers(
  requests: readonly Http2Request[],
  memory: PendingMemory,
  { nowMs, writeIdleMs }: { nowMs: number; writeIdleMs: number },
): void {
  let spared: Http2Request | null = null;
  for (const request of requests.slice()) {
    if (!request.blocked) {
      request.progressMs = 0;
      letGo(request, memory);
    } else if (request.progressMs === 0 || request.progress !== request.seenProgress) {
      request.progressMs = nowMs;
      request.seenProgress = request.progress;
      // Let go and counted again, it goes to the end of the queue.
      letGo(request, memory);
    } else if (nowMs - request.progressMs >= writeIdleMs) request.stalled();
    const { heldBytes } = request;
    if (heldBytes > 0) spared ??= request;
    const countedBytes = request === spared ? 0 : heldBytes;
    if (countedBytes > 0) request.held ??= new HeldBytes(request);
    if (request.held !== null) memory.resize(request.held, countedBytes);
  }
}

/** letGo is also called when the request is over. */
export function letGo({ held }: Http2Request, memory: PendingMemory): void {
  if (held !== null) memory.resize(held, 0);
}
