/**
 * The listening sockets of `accept: reuse_port`: one per worker and TCP address, bound here with SO_REUSEPORT and inherited by
 * the worker of the slot, which listens on it and accepts. This process does neither, but keeps every socket open, so that
 * the end of one worker resets nobody: whoever waits in its queue is served by the worker that replaces it. (A socket that
 * only the worker has dies with it: closing one under load reset 19 of 40 connections.)
 *
 * The kernel lets another process of the same user join the group of such an address without a word. Hence, at the start:
 * 1. a lock per port for as long as the start takes, since a bound socket keeps nobody away before its worker listens;
 * 2. a bind without SO_REUSEPORT, which fails as long as anybody listens there. An instance that drains counts until its
 *    listeners are closed.
 * Linux only: locks are abstract Unix sockets (unix(7)), which go with their process and belong to the same network namespace as ports.
 */
import { lookup } from 'node:dns/promises';
// As a namespace: a Node without BoundSocket could not even load a named import.
import * as net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../../contract/clock.ts';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import { listenSentence } from '../../contract/listen-failure.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';

export interface ListenSocketsOptions {
  /** Unix sockets among them are left to the cluster, which shares them. */
  listen: readonly ListenAddress[];
  workerCount: number;
  clock: Clock;
  logger: Logger;
  /** How long a busy address is tried again, and how often. */
  busyPortMs: number;
  busyPortRetryMs: number;
  /** Whether the start was called off; asked before each try. */
  stopped: () => boolean;
}

type TcpAddress = Extract<ListenAddress, { kind: 'tcp' }>;

/** Reasons to fall back from `::` to IPv4 where no host is named, as node does: the machine has no IPv6. */
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']);

export class ListenSockets {
  /** By address, then by slot. */
  readonly #groups: net.BoundSocket[][];
  #locks: net.Server[];

  private constructor(groups: net.BoundSocket[][], locks: net.Server[]) {
    this.#groups = groups;
    this.#locks = locks;
  }

  /**
   * open binds all sockets; called by the primary's main before the workers are forked. Throws LbError listen_failed (naming the
   * address; its cause carries the system's code) and, where the start was called off meanwhile, worker_gone.
   */
  static async open(options: ListenSocketsOptions): Promise<ListenSockets> {
    assertSupported();
    const { listen, workerCount, clock, logger, busyPortMs, busyPortRetryMs: retryInMs, stopped } = options;
    const addresses = listen.filter((address) => address.kind === 'tcp');
    const giveUpAtMs = clock.monotonicMs() + busyPortMs;
    for (;;) {
      if (stopped()) throw new LbError('worker_gone', 'stopped before the addresses were free');
      try {
        return await ListenSockets.#tryOpen(addresses, workerCount);
      } catch (thrown) {
        const error = toError(thrown);
        const busy = systemCodeOf(error.cause) === 'EADDRINUSE';
        if (!busy || clock.monotonicMs() + retryInMs > giveUpAtMs) throw error;
        logger.warn({ reason: error.message, retryInMs }, 'address is busy, trying again');
      }
      await delay(retryInMs);
    }
  }

  static async #tryOpen(addresses: readonly TcpAddress[], workerCount: number): Promise<ListenSockets> {
    const sockets = new ListenSockets([], []);
    try {
      for (const port of new Set(addresses.map((address) => address.port))) {
        if (port !== 0) sockets.#locks.push(await lockStart(port));
      }
      for (const address of addresses) sockets.#groups.push(await bindAddress(address, workerCount));
      return sockets;
    } catch (thrown) {
      sockets.close();
      throw thrown;
    }
  }

  /** descriptorsOf are a slot's sockets in the order of the TCP addresses; for the fork of its worker. None after close(). */
  descriptorsOf(slot: number): number[] {
    return this.#groups.flatMap((group) => group[slot]?.fd() ?? []);
  }

  /** unlock ends the start: the workers listen, so that another instance finds the address taken. */
  unlock(): void {
    for (const lock of this.#locks.splice(0)) lock.close();
  }

  /** close gives up this process's hold: from now on a socket ends with its worker. Safe to call twice. */
  close(): void {
    this.unlock();
    for (const socket of this.#groups.splice(0).flat()) socket.close();
  }
}

function assertSupported(): void {
  let missing: string | null = null;
  if (process.platform !== 'linux') missing = 'Linux';
  // Since 24.19 and 26.4; a Node 24.18 has none, whatever its types say.
  else if (typeof net.BoundSocket !== 'function') missing = 'Node.js 24.19 or later';
  if (missing !== null) throw new LbError('listen_failed', `accept: reuse_port needs ${missing}`);
}

/** Holds the start of a port against another instance; throws listen_failed with EADDRINUSE where one has it. */
async function lockStart(port: number): Promise<net.Server> {
  const lock = net.createServer((socket) => socket.destroy()).unref();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  lock.once('error', reject);
  lock.listen({ path: `\0sluice-reuse-port-${port}` }, resolve);
  try {
    await promise;
  } catch (cause) {
    const code = systemCodeOf(cause) ?? 'unknown';
    const message = `cannot listen on port ${port}: ${code}: another instance is starting on it`;
    throw new LbError('listen_failed', message, { cause });
  }
  return lock;
}

async function bindAddress({ host, port }: TcpAddress, count: number): Promise<net.BoundSocket[]> {
  try {
    if (host !== null) return bindGroup((await lookup(host)).address, port, count);
    try {
      return bindGroup('::', port, count);
    } catch (thrown) {
      if (!NO_IPV6.has(systemCodeOf(thrown) ?? '')) throw thrown;
      return bindGroup('0.0.0.0', port, count);
    }
  } catch (cause) {
    const message = listenSentence(`${host ?? ''}:${port}`, systemCodeOf(cause), toError(cause).message);
    throw new LbError('listen_failed', message, { cause });
  }
}

/** One socket per slot, all on the same port: where 0 is asked for the first one chooses it. */
function bindGroup(host: string, port: number, count: number): net.BoundSocket[] {
  if (port !== 0) new net.BoundSocket({ host, port }).close();
  const group: net.BoundSocket[] = [];
  try {
    while (group.length < count) {
      const samePort = group[0]?.address().port ?? port;
      group.push(new net.BoundSocket({ host, port: samePort, reusePort: true }));
    }
    return group;
  } catch (thrown) {
    for (const socket of group) socket.close();
    throw thrown;
  }
}
