/**
 * The listening sockets of the TCP addresses, bound here and inherited by the workers, which listen on them and accept. This
 * process does neither, but keeps every socket open: whoever connects while a worker, or the last one, is replaced waits in the
 * kernel's queue and is served by the replacement. (A socket that only workers have is closed with the last of them, which refuses
 * new connections and resets those that wait: 19 of 40 under load.)
 *
 * - `shared`: one socket per address, for all workers.
 * - `reuse_port`: one per address and worker, bound with SO_REUSEPORT. Linux only.
 * node:cluster has the sockets of `round_robin`, all Unix sockets, and everything where node has no net.BoundSocket (before 24.19).
 *
 * With SO_REUSEPORT the kernel lets another process of the same user join the group of an address without a word. Hence, at the
 * start:
 * 1. a lock per port for as long as the start takes, since a bound socket keeps nobody away before its worker listens. Locks are
 *    abstract Unix sockets (unix(7)), which go with their process and belong to the same network namespace as ports;
 * 2. a bind without SO_REUSEPORT, which fails as long as anybody listens there. An instance that drains counts until its
 *    listeners are closed.
 */
import { lookup } from 'node:dns/promises';
// As a namespace: a Node without BoundSocket could not even load a named import.
import * as net from 'node:net';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import { addressText, listenSentence } from '../../contract/listen-failure.ts';
import type { ListenAddress, Settings } from '../../contract/settings.ts';

export interface ListenSocketsOptions {
  listen: readonly ListenAddress[];
  accept: Settings['accept'];
  workerCount: number;
}

type TcpAddress = Extract<ListenAddress, { kind: 'tcp' }>;

/** Reasons to fall back from `::` to IPv4 where no host is named, as node does: the machine has no IPv6. */
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']);

export class ListenSockets {
  /** By address, then by slot; a group of one is shared by all slots. */
  readonly #groups: net.BoundSocket[][] = [];
  readonly #locks: net.Server[] = [];

  /**
   * open binds the sockets; called by the primary's main before the workers are forked. Throws LbError listen_failed, whose cause
   * carries the system's code.
   *
   * @returns null where the sockets are left to node:cluster
   */
  static async open({ listen, accept, workerCount }: ListenSocketsOptions): Promise<ListenSockets | null> {
    if (accept === 'reuse_port') assertSupported();
    else if (accept === 'round_robin' || typeof net.BoundSocket !== 'function') return null;
    const addresses = listen.filter((address) => address.kind === 'tcp');
    const sockets = new ListenSockets();
    try {
      if (accept === 'reuse_port') await sockets.#lock(addresses);
      const count = accept === 'reuse_port' ? workerCount : 1;
      for (const address of addresses) sockets.#groups.push(await bindAddress(address, count));
      return sockets;
    } catch (thrown) {
      sockets.close();
      throw thrown;
    }
  }

  /** descriptorsOf are a slot's sockets in the order of the TCP addresses; for the fork of its worker. None after close(). */
  descriptorsOf(slot: number): number[] {
    return this.#groups.flatMap((group) => (group.length === 1 ? group[0] : group[slot])?.fd() ?? []);
  }

  /** unlock ends the start: the workers listen, so that another instance finds the address taken. */
  unlock(): void {
    for (const lock of this.#locks.splice(0)) lock.close();
  }

  /** close gives up this process's hold: from now on a socket ends with its workers. Safe to call twice. */
  close(): void {
    this.unlock();
    for (const socket of this.#groups.splice(0).flat()) socket.close();
  }

  async #lock(addresses: readonly TcpAddress[]): Promise<void> {
    for (const port of new Set(addresses.map((address) => address.port))) {
      if (port !== 0) this.#locks.push(await lockStart(port));
    }
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

async function bindAddress(address: TcpAddress, count: number): Promise<net.BoundSocket[]> {
  const { host, port } = address;
  try {
    if (host !== null) return bindGroup((await lookup(host)).address, port, count);
    try {
      return bindGroup('::', port, count);
    } catch (thrown) {
      if (!NO_IPV6.has(systemCodeOf(thrown) ?? '')) throw thrown;
      return bindGroup('0.0.0.0', port, count);
    }
  } catch (cause) {
    const message = listenSentence(addressText(address), systemCodeOf(cause), toError(cause).message);
    throw new LbError('listen_failed', message, { cause });
  }
}

/** Sockets that are all on the same port: where 0 is asked for the first one chooses it. */
function bindGroup(host: string, port: number, count: number): net.BoundSocket[] {
  const reusePort = count > 1;
  if (reusePort && port !== 0) new net.BoundSocket({ host, port }).close();
  const group: net.BoundSocket[] = [];
  try {
    while (group.length < count) {
      const samePort = group[0]?.address().port ?? port;
      group.push(new net.BoundSocket({ host, port: samePort, reusePort }));
    }
    return group;
  } catch (thrown) {
    for (const socket of group) socket.close();
    throw thrown;
  }
}
