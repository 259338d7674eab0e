/**
 * Watches the answers that wait because their client does not take them: how long, and how much memory they hold.
 *
 * One connection may have many of them, so those of a worker are bounded together (PendingMemory). The answer of which nothing has
 * left for the longest time is ended first: a client that reads slowly keeps its answers.
 */
import { SLOW_MS } from '../../../infra/wire/write-watch.ts';
import { CountedMemory, type PendingMemory } from '../../../memory/pending-bytes.ts';
import type { ClientH2Request } from './client-h2-request.ts';

/** What answers hold in a worker, as of the last looks. The largest answer of each connection is not counted: a connection of HTTP/1.1 could hold it too. */
export const ANSWERS_MAX_BYTES = 134_217_728;

/** lookAtAnswers is called about once a second for each connection. It may end requests of this one. */
export function lookAtAnswers(
  requests: readonly ClientH2Request[],
  memory: PendingMemory,
  { nowMs, writeIdleMs }: { nowMs: number; writeIdleMs: number },
): void {
  const spared = largestOf(requests);
  for (const request of requests.slice()) {
    if (!request.blocked) {
      request.progressMs = 0;
      letGo(request, memory);
    } else if (request.progressMs === 0 || request.progress !== request.seenProgress) {
      request.progressMs = nowMs;
      request.seenProgress = request.progress;
      // Let go and counted again, it goes to the end of the queue.
      letGo(request, memory);
    } else if (nowMs - request.progressMs >= writeIdleMs) {
      request.stalled();
      // It may be over, and let go.
      continue;
    } else if (nowMs - request.progressMs >= SLOW_MS) request.slow();
    const countedBytes = request === spared ? 0 : request.heldMemoryBytes;
    if (countedBytes > 0) request.held ??= new CountedMemory(request);
    if (request.held !== null) memory.resize(request.held, countedBytes);
  }
}

function largestOf(requests: readonly ClientH2Request[]): ClientH2Request | null {
  let largest: ClientH2Request | null = null;
  let largestBytes = 0;
  for (const request of requests) {
    const { heldMemoryBytes } = request;
    if (heldMemoryBytes <= largestBytes) continue;
    largest = request;
    largestBytes = heldMemoryBytes;
  }
  return largest;
}

/** letGo is also called when the request is over. */
export function letGo({ held }: ClientH2Request, memory: PendingMemory): void {
  if (held !== null) memory.resize(held, 0);
}
