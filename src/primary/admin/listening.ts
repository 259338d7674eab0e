/** Where the admin port listens, how many connections it keeps, and how it closes. */
import { lookup } from 'node:dns/promises';
import type { Server } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { hostPort } from '../../contract/addresses.ts';
import { systemCodeOf } from '../../contract/errors.ts';
import type { AdminSettings } from '../../contract/settings.ts';
import { listenFailure } from '../../infra/listeners.ts';
import { atMost } from '../../infra/with-deadline.ts';
import type { AdminApp } from './app.ts';

/** More than any set of scrapers, probes and people needs. */
const MAX_CONNECTIONS = 512;

/**
 * listen opens the port and returns its URL, with the real port where 0 was asked for. It closes the app where that fails,
 * and rejects with LbError listen_failed, the system's error as cause.
 */
export async function listen(app: AdminApp, { host, port }: AdminSettings): Promise<string> {
  capConnections(app.server);
  try {
    await bind(app, host, port);
  } catch (thrown) {
    await app.close();
    throw listenFailure({ kind: 'tcp', host, port }, thrown);
  }
  const address = app.server.address();
  return `http://${hostPort(host, typeof address === 'object' && address !== null ? address.port : 0)}`;
}

/** `::` means every address of IPv4 and IPv6; where the system has no IPv6, every address of IPv4. */
async function bind(app: AdminApp, host: string, port: number): Promise<void> {
  try {
    // A name becomes one address. For localhost the framework would open a second listener, without the caps.
    const address = isIP(host) === 0 ? (await lookup(host, { order: 'ipv4first' })).address : host;
    await app.listen({ host: address, port });
  } catch (thrown) {
    if (host !== '::' || systemCodeOf(thrown) !== 'EAFNOSUPPORT') throw thrown;
    await app.listen({ host: '0.0.0.0', port });
  }
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
