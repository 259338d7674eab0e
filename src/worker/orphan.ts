/** How a worker whose primary died waits for the next one; contract/orphans.ts has the protocol. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CHANNEL_FD, GIVEN_COUNT } from '../contract/descriptors.ts';
import { toError } from '../contract/errors.ts';
import { ORPHAN_CONTROL, ORPHAN_DRAIN, ORPHAN_SOCKETS, type OrphanNote } from '../contract/orphans.ts';
import { assertPrivate, makeFolder } from '../infra/folders.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { entryFile } from '../infra/product-files.ts';

interface OrphanOptions {
  /** As in WorkerPlace. */
  folder: string;
  note: OrphanNote;
  /** Descriptors of the listening sockets. */
  fds: readonly number[];
  graceMs: number;
  logger: Logger;
}

const GIVER = entryFile('worker/give-sockets');
/** A primary that starts needs one of each. */
const MAX_CONNECTIONS = 16;

/**
 * waitForSuccessor is called by the worker's main once. It resolves when a new primary says that this worker may go, or after
 * graceMs; at once where no primary could find it. Never rejects.
 *
 * @returns whether there is a successor
 */
export async function waitForSuccessor({
  folder,
  note,
  fds,
  graceMs,
  logger,
}: OrphanOptions): Promise<boolean> {
  const { promise: relieved, resolve } = Promise.withResolvers<boolean>();
  const sockets = createServer({ pauseOnConnect: true }, (socket) => give(socket, fds, logger));
  const control = createServer((socket) => answer(socket, note, () => resolve(true)));
  const ended = new AbortController();
  try {
    makeFolder(folder);
    // Whoever may connect gets the listening sockets.
    assertPrivate(folder);
    // In this order: whoever finds the second finds the first.
    await listen(sockets, join(folder, `${process.pid}${ORPHAN_SOCKETS}`));
    await listen(control, join(folder, `${process.pid}${ORPHAN_CONTROL}`));
    const over = delay(graceMs, false, { signal: ended.signal }).catch(() => false);
    return await Promise.race([relieved, over]);
  } catch (thrown) {
    logger.error({ err: toError(thrown), folder }, 'no new primary could find this worker');
    return false;
  } finally {
    ended.abort();
    sockets.close();
    control.close();
  }
}

async function listen(server: Server, path: string): Promise<void> {
  // It is of this process's number, so whoever left it there was killed.
  rmSync(path, { force: true });
  server.maxConnections = MAX_CONNECTIONS;
  // Else a worker of a cluster would ask its primary to listen.
  await once(server.listen({ path, exclusive: true }), 'listening');
}

function answer(socket: Socket, note: OrphanNote, onDrain: () => void): void {
  let text = '';
  socket.on('error', () => socket.destroy());
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-ORPHAN_DRAIN.length);
    if (text === ORPHAN_DRAIN) onDrain();
  });
  socket.write(`${JSON.stringify(note)}\n`);
}

function give(socket: Socket, fds: readonly number[], logger: Logger): void {
  const env = { ...process.env, NODE_CHANNEL_FD: String(CHANNEL_FD), [GIVEN_COUNT]: String(fds.length) };
  const giver = spawn(process.execPath, [GIVER], {
    stdio: ['ignore', 'inherit', 'inherit', socket, ...fds],
    env,
  });
  giver.on('error', (error) => logger.error({ err: error }, 'the listening sockets cannot be given away'));
  // It has its own descriptor of the connection now.
  socket.destroy();
}
