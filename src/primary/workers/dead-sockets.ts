/**
 * The files of Unix sockets that outlived their process: one that was killed, or whose machine lost power, removes nothing,
 * and the kernel refuses the address to everybody until somebody does. Without this a service that was killed once never
 * starts again.
 */
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCodeOf, toError } from '../../contract/errors.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';

/** For an answer of the kernel, which is a matter of microseconds. */
const CONNECT_MS = 1_000;
/** An instance that starts at this moment has bound its socket and does not listen yet. */
const SECOND_LOOK_MS = 250;

/**
 * removeDeadSockets removes those at which nobody listens; called by the primary's main before anybody listens. Whatever else
 * is at an address, or cannot be removed, stays, and the start says so where it fails. Never rejects.
 *
 * @param pause the time between two looks; for tests
 */
export async function removeDeadSockets(
  listen: readonly ListenAddress[],
  logger: Logger,
  pause: () => Promise<void> = () => delay(SECOND_LOOK_MS),
): Promise<void> {
  for (const address of listen) {
    if (address.kind !== 'unix') continue;
    const { path } = address;
    try {
      if (!(await isDead(path))) continue;
      await pause();
      if (!(await isDead(path))) continue;
      await unlink(path);
      logger.info({ path }, 'removed a socket at which nobody listens');
    } catch (thrown) {
      logger.warn({ path, reason: toError(thrown).message }, 'a socket at which nobody listens stays');
    }
  }
}

/** A crowded one refuses with another code than a dead one. */
async function isDead(path: string): Promise<boolean> {
  if (!(await isSocket(path))) return false;
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const socket = connect({ path });
  socket.setTimeout(CONNECT_MS, () => resolve(null));
  socket.on('connect', () => resolve(null));
  socket.on('error', (error) => resolve(systemCodeOf(error)));
  try {
    return (await promise) === 'ECONNREFUSED';
  } finally {
    socket.destroy();
  }
}

async function isSocket(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSocket();
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return false;
    throw thrown;
  }
}
