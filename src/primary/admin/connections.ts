/** The cap on connections of the admin port: at the cap, the connection that has been idle longest makes room. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** capConnections is called once, before the server listens. @param max connections that stay open at a time */
export function capConnections(server: Server, max: number): void {
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
    if (openCount <= max) return;
    // The new connection itself, where all others have a request under way.
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
