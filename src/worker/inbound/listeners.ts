/** The listening sockets of a worker: opened, and closed without losing those who wait in their queues. */
import { Server, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../../contract/clock.ts';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import { addressText, listenSentence } from '../../contract/listen-failure.ts';
import type { ListenAddress } from '../../contract/settings.ts';

/**
 * A connection that is established while a listener is being closed is reset by the kernel. The time for that lasts from the
 * last look into the queue to the close: the work of one turn of the loop. A turn that took longer is not the last one.
 */
const SHORT_TURN_MS = 1;

/** Listeners is kept by the worker's InboundServer. */
export class Listeners {
  readonly #clock: Clock;
  readonly #servers: Server[] = [];
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * open makes a server listen and returns its URL (`http://127.0.0.1:8080`, `unix:/path`), with the real port where 0 was
   * asked for. Throws listen_failed, whose cause carries the system's code (EADDRINUSE, EACCES, …).
   *
   * @param inheritedFd the socket that the primary bound for this worker; null: one that the cluster shares
   */
  async open(server: Server, address: ListenAddress, inheritedFd: number | null): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.once('listening', resolve);
    try {
      if (inheritedFd !== null) listenOn(server, inheritedFd);
      else if (address.kind === 'unix') server.listen({ path: address.path });
      else server.listen({ port: address.port, ...(address.host === null ? {} : { host: address.host }) });
      await promise;
    } catch (thrown) {
      const cause = toError(thrown);
      const reason = listenSentence(addressText(address), systemCodeOf(cause), cause.message);
      throw new LbError('listen_failed', reason, { cause });
    }
    server.off('error', reject);
    if (this.#closed) stopAccepting(server);
    else this.#servers.push(server);
    return urlOf(address, server);
  }

  /**
   * close stops accepting: not before the queues are empty (a turn of the loop, which takes one connection from each, brings
   * none), but after deadlineMs in any case. Connections stay as they are.
   */
  async close(deadlineMs: number): Promise<void> {
    this.#closed = true;
    const servers = this.#servers.splice(0);
    if (servers.length === 0) return;
    let acceptedCount = 0;
    const onConnection = (): void => {
      acceptedCount++;
    };
    for (const server of servers) server.on('connection', onConnection);
    const endsAtMs = this.#clock.monotonicMs() + deadlineMs;
    // The turn under way may have looked into the queues already.
    await nextTurn();
    for (;;) {
      const turnStartedMs = this.#clock.monotonicMs();
      const acceptedBefore = acceptedCount;
      await nextTurn();
      const nowMs = this.#clock.monotonicMs();
      const quiet = acceptedCount === acceptedBefore && nowMs - turnStartedMs <= SHORT_TURN_MS;
      if (quiet || nowMs >= endsAtMs) break;
    }
    for (const server of servers) stopAccepting(server);
  }
}

/** In a cluster, listen({ fd }) means a descriptor of the primary; a socket as handle is this process's own. */
function listenOn(server: Server, fd: number): void {
  server.listen(new Socket({ fd, readable: false, writable: false }));
}

/** The http.Server's own close() would destroy idle connections in the middle of a head and stop the head deadlines. */
function stopAccepting(server: Server): void {
  Server.prototype.close.call(server);
}

function urlOf(address: ListenAddress, server: Server): string {
  const bound = server.address();
  if (address.kind === 'unix' || bound === null || typeof bound === 'string') return addressText(address);
  const { host } = address;
  // A wildcard is no address that a client can use.
  const shown = host === null || host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${shown.includes(':') ? `[${shown}]` : shown}:${bound.port}`;
}
