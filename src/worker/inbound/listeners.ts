/** The listeners of a worker: sockets of its own, and addresses whose connections the primary deals it. */
import type { Server, Socket } from 'node:net';
import type { ListenAddress } from '../../contract/settings.ts';
import { closeListeners, openListener } from '../../infra/listeners.ts';

/** Listeners is kept by the worker's InboundServer. */
export class Listeners {
  readonly #servers: Server[] = [];
  /** By the index of their address. */
  readonly #dealt = new Map<number, Server>();
  #closed = false;

  /** open makes a server listen; see openListener. */
  async open(server: Server, address: ListenAddress, inheritedFd: number | null): Promise<string> {
    const url = await openListener(server, address, inheritedFd);
    if (this.#closed) void closeListeners([server], 0);
    else this.#servers.push(server);
    return url;
  }

  /** expect makes a server take the connections of an address that are dealt. */
  expect(server: Server, index: number): void {
    this.#dealt.set(index, server);
    // node:http begins to watch its deadlines when it listens, which this one never does.
    server.emit('listening');
  }

  /** take is called with each connection that is dealt, in the turn in which it came. */
  take(index: number, socket: Socket): void {
    const server = this.#dealt.get(index);
    if (server === undefined) {
      socket.destroy();
      return;
    }
    socket.allowHalfOpen = true;
    server.emit('connection', socket);
  }

  /** close stops accepting; see closeListeners. */
  async close(deadlineMs: number): Promise<void> {
    this.#closed = true;
    await closeListeners(this.#servers.splice(0), deadlineMs);
  }
}
