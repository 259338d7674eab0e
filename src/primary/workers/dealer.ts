/**
 * Accepts connections in the primary and hands them to the workers in turn: for `accept: round_robin`, and for addresses that
 * workers cannot inherit (listen-sockets.ts). The primary keeps these sockets, so nobody is refused while the last worker is replaced.
 *
 * A worker gets its next connection once it has taken the one before, so that a worker that hangs holds up one connection and not its
 * share. If it ends first, it has read nothing of that one, and another worker gets it. While no worker is free, connections wait
 * here, with a bound and a deadline.
 */
import * as net from 'node:net';
import type { ListenAddress } from '../../contract/settings.ts';
import { openFileLimit } from '../../infra/file-descriptors.ts';
import { closeListeners, openListener, QUEUE_REST_MS } from '../../infra/listeners.ts';
import type { WorkerLink } from './worker-link.ts';

/** Longer than the longest back-off of a worker that dies again and again. */
const WAIT_MS = 30_000;

/** Dealer is made by ListenSockets. */
export class Dealer {
  /** By the key of the address. */
  readonly #servers = new Map<string, net.Server>();
  /** Addresses that workers do not know yet: their connections wait. */
  readonly #held = new Set<string>();
  /** Workers that get connections, and those of them that are free; the first is the next to get one. */
  readonly #takers = new Set<WorkerLink>();
  readonly #free = new Set<WorkerLink>();
  /** Connections with the key of their address, the oldest first. */
  readonly #waiting = new Map<net.Socket, string>();
  /** By worker, the connection that it was sent and has not taken. */
  readonly #sent = new Map<WorkerLink, [net.Socket, address: string]>();
  readonly #maxWaiting: number;
  readonly #waitMs: number;

  /** The limits are for tests. */
  constructor({ maxWaiting = Math.floor(openFileLimit() / 2), waitMs = WAIT_MS } = {}) {
    this.#maxWaiting = maxWaiting;
    this.#waitMs = waitMs;
  }

  /**
   * listen accepts at an address from now on, and deals its connections once open() was called. @param key of addressesByKey
   * @param fd as openListener's. @returns its URL. Throws LbError listen_failed.
   */
  async listen(address: ListenAddress, key: string, fd: number | null = null): Promise<string> {
    const server = net.createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      this.#accept(socket, key);
    });
    this.#held.add(key);
    try {
      const url = await openListener(server, address, fd);
      this.#servers.set(key, server);
      return url;
    } catch (thrown) {
      this.#held.delete(key);
      throw thrown;
    }
  }

  /** open deals the connections of these addresses: the workers know them. */
  open(keys: Iterable<string>): void {
    for (const key of keys) this.#held.delete(key);
    this.#deal();
  }

  /** stop accepts those who wait at these addresses, and stops listening there. @param keys default: all */
  stop(keys: Iterable<string> = this.#servers.keys()): Promise<void> {
    const servers: net.Server[] = [];
    for (const key of [...keys]) {
      const server = this.#servers.get(key);
      if (server !== undefined) servers.push(server);
      this.#servers.delete(key);
    }
    return closeListeners(servers, QUEUE_REST_MS);
  }

  /** cancel closes an address that was never opened, and its connections. */
  cancel(key: string): void {
    this.#servers.get(key)?.close();
    this.#servers.delete(key);
    this.#held.delete(key);
    for (const [socket, address] of this.#waiting) {
      if (address !== key) continue;
      this.#waiting.delete(socket);
      socket.destroy();
    }
  }

  /** add deals to a worker that is ready. */
  add(link: WorkerLink): void {
    this.#takers.add(link);
    void link.exited.then(() => {
      this.remove(link);
      const sent = this.#sent.get(link);
      this.#sent.delete(link);
      if (sent !== undefined) this.#enqueue(...sent);
    });
    this.taken(link);
  }

  /** taken: the worker says that it has taken its connection. */
  taken(link: WorkerLink): void {
    this.#sent.get(link)?.[0].destroy();
    this.#sent.delete(link);
    if (this.#takers.has(link)) this.#free.add(link);
    this.#deal();
  }

  /** remove stops dealing to a worker. */
  remove(link: WorkerLink): void {
    this.#takers.delete(link);
    this.#free.delete(link);
  }

  /** close stops listening and closes the connections that no worker has taken. Safe to call twice. */
  close(): void {
    for (const server of this.#servers.values()) server.close();
    this.#servers.clear();
    for (const [socket] of [...this.#waiting, ...this.#sent.values()]) socket.destroy();
    this.#waiting.clear();
    this.#sent.clear();
  }

  #accept(socket: net.Socket, key: string): void {
    if (this.#waiting.size >= this.#maxWaiting) {
      socket.destroy();
      return;
    }
    socket.on('error', () => socket.destroy());
    this.#enqueue(socket, key);
  }

  #enqueue(socket: net.Socket, address: string): void {
    this.#waiting.set(socket, address);
    this.#deal();
    if (!this.#waiting.has(socket)) return;
    socket.setTimeout(this.#waitMs, () => {
      this.#waiting.delete(socket);
      socket.destroy();
    });
  }

  #deal(): void {
    for (const link of this.#free) {
      const oldest = this.#oldest();
      if (oldest === undefined) return;
      const [socket, address] = oldest;
      this.#free.delete(link);
      if (!link.send({ type: 'connection', address }, socket)) continue;
      this.#waiting.delete(socket);
      this.#sent.set(link, [socket.setTimeout(0), address]);
    }
  }

  #oldest(): [net.Socket, address: string] | undefined {
    for (const waiting of this.#waiting) if (!this.#held.has(waiting[1])) return waiting;
    return undefined;
  }
}
