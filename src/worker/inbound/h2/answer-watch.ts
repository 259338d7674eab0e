/**
 * Watches the answers that wait because their client does not take them: how long, and how much memory they hold.
 *
 * One connection may have many of them, so those of a worker are bounded together (PendingMemory). The answer of which nothing has
 * left for the longest time is ended first: a client that reads slowly keeps its answers.
 */
import { FIRST_BUFFER_BYTES } from '../../../http1/body-buffers.ts';
import { HeldBytes, type PendingMemory } from '../../../http1/pending-bytes.ts';
import type { Http2Request } from './http2-request.ts';

/** What answers beyond SPARED_BYTES hold in a worker, as of the last looks. */
export const ANSWERS_MAX_BYTES = 134_217_728;
/** So much of a connection is not counted: as much as one answer holds over HTTP/1.1. */
const SPARED_BYTES = 2 * FIRST_BUFFER_BYTES;

/** lookAtAnswers is called about once a second for each connection. It may end requests of this one. */
export function lookAtAnswers(
  requests: readonly Http2Request[],
  memory: PendingMemory,
  { nowMs, writeIdleMs }: { nowMs: number; writeIdleMs: number },
): void {
  let sparedBytes = SPARED_BYTES;
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
    const countedBytes = Math.max(0, heldBytes - sparedBytes);
    sparedBytes -= heldBytes - countedBytes;
    if (countedBytes > 0) request.held ??= new HeldBytes(request);
    if (request.held !== null) memory.resize(request.held, countedBytes);
  }
}

/** letGo is also called when the request is over. */
export function letGo({ held }: Http2Request, memory: PendingMemory): void {
  if (held !== null) memory.resize(held, 0);
}
