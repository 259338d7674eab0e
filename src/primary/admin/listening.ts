/** Where the admin port listens, how many connections it keeps, and how it closes. */
import { lookup } from 'node:dns/promises';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { AdminSettings } from '../../contract/settings.ts';
import { bindEverywhere, boundUrl, listenFailure } from '../../infra/listeners.ts';
import { atMost } from '../../infra/with-deadline.ts';
import type { AdminApp } from './app.ts';

/** More than any set of scrapers, probes and people needs. */
const MAX_CONNECTIONS = 512;

/**
 * listen opens the port and returns its URL, with the real port where 0 was asked for. It closes the app where that fails,
 * and rejects with LbError listen_failed, the system's error as cause.
 */
export async function listen(app: AdminApp, { host, port }: AdminSettings): Promise<string> {
  const address = { kind: 'tcp', host, port } as const;
  const bind = (to: string) => app.listen({ host: to, port });
  capConnections(app.server);
  try {
    // A name becomes one address. For localhost the framework would open a second listener, without the caps.
    await (host === '::' ? bindEverywhere(bind) : bind((await lookup(host, { order: 'ipv4first' })).address));
  } catch (thrown) {
    await app.close();
    throw listenFailure(address, thrown);
  }
  return boundUrl(app.server, address);
}

/** At the cap, the connection that has been idle longest makes room for the new one. */
function capConnections(server: Server): void {
  /** Connections without a request under way, the longest idle first. */
  const idle = new Set<Socket>();
  let openCount = 0;
  server.on('connection', (socket) => {
    openCount++;
    idle.add(socket);
    socket.once('close', () => {
      openCount--;
      idle.delete(socket);
    });
    if (openCount <= MAX_CONNECTIONS) return;
    // It is the new connection itself where all others have a request under way.
    const [oldest = socket] = idle;
    idle.delete(oldest);
    oldest.destroy();
  });
  server.on('request', ({ socket }, response) => {
    idle.delete(socket);
    response.once('close', () => {
      if (!socket.destroyed) idle.add(socket);
    });
  });
}

/** closeWithin stops accepting, lets calls under way finish for closeMs, then cuts them. */
export async function closeWithin(app: AdminApp, closeMs: number): Promise<void> {
  const closed = app.close();
  if (!(await atMost(closed, closeMs))) app.server.closeAllConnections();
  await closed;
}
