/** The listeners of a worker: sockets of its own, and addresses whose connections the primary deals it. */
import { once } from 'node:events';
import { type Server, Socket } from 'node:net';
import type { Clock } from '../../contract/clock.ts';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import { addressText, addressUrl, listenSentence } from '../../contract/listen-failure.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import { closeListeners } from '../../infra/close-listeners.ts';

/** Listeners is kept by the worker's InboundServer. */
export class Listeners {
  readonly #clock: Clock;
  readonly #servers: Server[] = [];
  /** By the index of their address. */
  readonly #dealt = new Map<number, Server>();
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * open makes a server listen and returns its URL, with the real port where 0 was asked for. Throws listen_failed, whose cause
   * carries the system's code (EADDRINUSE, EACCES, …).
   *
   * @param inheritedFd the socket that the primary bound for this worker; null: the server binds one
   */
  async open(server: Server, address: ListenAddress, inheritedFd: number | null): Promise<string> {
    try {
      // In a cluster, listen({ fd }) means a descriptor of the primary; a socket as handle is this process's own.
      if (inheritedFd !== null)
        server.listen(new Socket({ fd: inheritedFd, readable: false, writable: false }));
      else if (address.kind === 'unix') server.listen({ path: address.path });
      else server.listen({ port: address.port, ...(address.host === null ? {} : { host: address.host }) });
      await once(server, 'listening');
    } catch (thrown) {
      const cause = toError(thrown);
      const reason = listenSentence(addressText(address), systemCodeOf(cause), cause.message);
      throw new LbError('listen_failed', reason, { cause });
    }
    const bound = server.address();
    if (this.#closed) void closeListeners([server], this.#clock, 0);
    else this.#servers.push(server);
    return addressUrl(address, bound === null || typeof bound === 'string' ? 0 : bound.port);
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
    await closeListeners(this.#servers.splice(0), this.#clock, deadlineMs);
  }
}
