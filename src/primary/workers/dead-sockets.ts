/**
 * Removes the files of Unix sockets whose process was killed. The kernel refuses such an address until its file is gone, so that
 * without this a service that was killed once would never start again.
 */
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCodeOf, toError } from '../../contract/errors.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';

/** The kernel answers within microseconds. */
const CONNECT_MS = 1_000;
/** Another instance that starts now may have bound its socket and not listen yet: look again after this time. */
const SECOND_LOOK_MS = 250;

/**
 * removeDeadSockets removes the socket files at which nobody listens; called by the primary's main before it binds. A file of another
 * kind, or one that cannot be removed, stays: the bind fails then and says why. Never rejects.
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

/** ECONNREFUSED means that nobody listens; a full queue has another code. */
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
