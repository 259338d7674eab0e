/** Closes listening sockets without losing those who wait in their queues; for the workers and the primary. */
import { Server } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../contract/clock.ts';

/**
 * The kernel resets a connection that is established between the last look into the queue and the close. That time is the work
 * of one turn of the loop. A turn that took longer is not the last one.
 */
const SHORT_TURN_MS = 1;

/**
 * closeListeners closes servers once their queues are empty (a turn of the loop, which takes one connection from each, brought
 * none), but after deadlineMs in any case. Accepted connections stay as they are.
 */
export async function closeListeners(
  servers: readonly Server[],
  clock: Pick<Clock, 'monotonicMs'>,
  deadlineMs: number,
): Promise<void> {
  if (servers.length === 0) return;
  let acceptedCount = 0;
  const onConnection = (): void => {
    acceptedCount++;
  };
  for (const server of servers) server.on('connection', onConnection);
  const endsAtMs = clock.monotonicMs() + deadlineMs;
  // The turn under way may have looked into the queues already.
  await nextTurn();
  for (;;) {
    const turnStartedMs = clock.monotonicMs();
    const acceptedBefore = acceptedCount;
    await nextTurn();
    const nowMs = clock.monotonicMs();
    const quiet = acceptedCount === acceptedBefore && nowMs - turnStartedMs <= SHORT_TURN_MS;
    if (quiet || nowMs >= endsAtMs) break;
  }
  // http.Server's own close() would destroy idle connections in the middle of a head and stop the head deadlines.
  for (const server of servers) Server.prototype.close.call(server);
}
