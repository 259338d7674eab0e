/** Opens listening sockets, and closes them without losing those who wait in their queues; for the workers and the primary. */
import { once } from 'node:events';
import { Server, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../contract/clock.ts';
import { LbError, systemCodeOf, toError } from '../contract/errors.ts';
import { addressText, addressUrl, listenSentence } from '../contract/listen-failure.ts';
import type { ListenAddress } from '../contract/settings.ts';

/**
 * The kernel resets a connection that is established between the last look into the queue and the close. That time is the work
 * of one turn of the loop. A turn that took longer is not the last one.
 */
const SHORT_TURN_MS = 1;

/**
 * openListener makes a server listen and returns its URL, with the real port where 0 was asked for. Throws what listenFailure makes.
 *
 * @param inheritedFd the socket that the primary bound for this worker; null: the server binds one
 */
export async function openListener(
  server: Server,
  address: ListenAddress,
  inheritedFd: number | null = null,
): Promise<string> {
  try {
    // In a cluster, listen({ fd }) means a descriptor of the primary; a socket as handle is this process's own.
    if (inheritedFd !== null)
      server.listen(new Socket({ fd: inheritedFd, readable: false, writable: false }));
    else if (address.kind === 'unix') server.listen({ path: address.path });
    else server.listen({ port: address.port, ...(address.host === null ? {} : { host: address.host }) });
    await once(server, 'listening');
  } catch (thrown) {
    throw listenFailure(address, thrown);
  }
  const bound = server.address();
  return addressUrl(address, bound === null || typeof bound === 'string' ? 0 : bound.port);
}

/** listenFailure makes an LbError listen_failed, whose cause carries the system's code (EADDRINUSE, EACCES, …). */
export function listenFailure(address: ListenAddress, thrown: unknown): LbError {
  const cause = toError(thrown);
  const message = listenSentence(addressText(address), systemCodeOf(cause), cause.message);
  return new LbError('listen_failed', message, { cause });
}

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
