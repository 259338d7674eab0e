/**
 * The listening sockets. The primary holds all of them as long as the instance serves. A connection that comes while a worker is
 * replaced, even the last one, waits in the kernel's queue or in the dealer, and the replacement serves it. (A socket that only
 * workers hold closes with the last of them: the kernel then refuses new connections and resets those that wait, 19 of 40 under load.)
 *
 * - `shared`: one socket per address, bound here and inherited by all workers, which listen on it and accept.
 * - `reuse_port`: the same, but one socket per address and worker, bound with SO_REUSEPORT. Linux only.
 * - `round_robin`: the primary accepts and deals connections to the workers (dealer.ts). So it does in every mode for Unix sockets,
 *   which a worker of a cluster cannot inherit, and for TCP before Node.js 24.19, which cannot bind in advance.
 *
 * With SO_REUSEPORT the kernel lets another process of the same user join the group of an address, and reports nothing. A start with
 * `reuse_port` therefore does two things:
 * 1. It holds a lock per port until its workers listen, because a socket that is only bound keeps nobody away. A lock is an abstract
 *    Unix socket (unix(7)): it ends with its process, and it belongs to the same network namespace as the port.
 * 2. It binds once without SO_REUSEPORT, which fails as long as anybody listens there, an instance that drains included.
 */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
// As a namespace: a Node without BoundSocket could not even load a named import.
import * as net from 'node:net';
import { addressesByKey, addressUrl } from '../../contract/addresses.ts';
import { FIRST_INHERITED_FD } from '../../contract/descriptors.ts';
import { LbError, systemCodeOf } from '../../contract/errors.ts';
import type { WorkerPlace } from '../../contract/messages.ts';
import type { ListenAddress, Settings } from '../../contract/settings.ts';
import { bindEverywhere, listenFailure } from '../../infra/listeners.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { SettingsChange } from '../settings-change.ts';
import { Dealer } from './dealer.ts';
import { removeDeadSockets } from './free-addresses.ts';
import { HeldSocket } from './held-socket.ts';
import { ReceivedSockets } from './received-sockets.ts';
import type { WorkerLink } from './worker-link.ts';

/** URL and sockets of an address; null: the dealer has them. */
interface Bound {
  url: string;
  group: HeldSocket[] | null;
}

type TcpAddress = Extract<ListenAddress, { kind: 'tcp' }>;

export interface ListenSocketsOptions {
  listen: readonly ListenAddress[];
  accept: Settings['accept'];
  workerCount: number;
  /** Sockets that are there already: of the primary before this one, or of systemd. */
  received?: ReceivedSockets;
}

export class ListenSockets {
  readonly dealer = new Dealer();
  /** URLs in the order of `listen`, with the real ports. */
  readonly addresses: string[] = [];
  /** The sockets of each address by its key, one per slot; a single one is shared by all. null: the dealer accepts there. */
  readonly #groups = new Map<string, HeldSocket[] | null>();
  readonly #locks: net.Server[] = [];
  readonly #accept: Settings['accept'];
  /** Sockets of each address. */
  readonly #count: number;
  #letGo: Promise<void> | null = null;

  private constructor(accept: Settings['accept'], workerCount: number) {
    this.#accept = accept;
    this.#count = accept === 'reuse_port' ? workerCount : 1;
  }

  /** open binds the sockets; StartupSockets calls it before workers are forked. Throws LbError listen_failed; see listenFailure. */
  static async open({
    listen,
    accept,
    workerCount,
    received = new ReceivedSockets(),
  }: ListenSocketsOptions): Promise<ListenSockets> {
    if (accept === 'reuse_port') assertSupported();
    const sockets = new ListenSockets(accept, workerCount);
    const addresses = addressesByKey(listen);
    try {
      for (const [key, { url, group }] of await sockets.#bind(addresses, received)) {
        sockets.#groups.set(key, group);
        sockets.addresses.push(url);
      }
    } catch (thrown) {
      sockets.close();
      throw thrown;
    }
    sockets.dealer.open(addresses.keys());
    return sockets;
  }

  /**
   * prepare binds what a new `listen` has more; called by a reload. Throws LbError listen_failed, and has changed nothing then.
   * Connections that wait in the queues of addresses that are gone are accepted before they close.
   */
  async prepare(listen: readonly ListenAddress[], logger: Logger): Promise<SettingsChange> {
    const wanted = addressesByKey(listen);
    const added = new Map([...wanted].filter(([key]) => !this.#groups.has(key)));
    await removeDeadSockets([...added.values()], logger);
    const bound = await this.#bind(added, new ReceivedSockets());
    return {
      commit: (links) => {
        const removed = [...this.#groups.keys()].filter((key) => !wanted.has(key));
        this.#replace(bound, removed, links);
        if (bound.size + removed.length > 0)
          logger.info({ added: [...bound.values()].map(({ url }) => url), removed }, '`listen` has changed');
        return async () => {
          this.unlock();
          this.dealer.open(bound.keys());
          await this.dealer.stop(removed);
        };
      },
      cancel: () => this.#unbind(bound),
    };
  }

  /** Binds every address; if one fails, none. With reuse_port, the locks are held until unlock(). */
  async #bind(
    addresses: ReadonlyMap<string, ListenAddress>,
    received: ReceivedSockets,
  ): Promise<Map<string, Bound>> {
    const all = new Map<string, Bound>();
    try {
      if (this.#accept === 'reuse_port') await this.#lock([...addresses.values()]);
      for (const [key, address] of addresses) {
        const taken = await received.take(address, this.#count);
        const canBind = typeof net.BoundSocket === 'function' || taken.length > 0;
        if (this.#accept === 'round_robin' || address.kind === 'unix' || !canBind) {
          const url = await this.dealer.listen(address, key, taken[0]?.fd() ?? null);
          all.set(key, { url, group: null });
          continue;
        }
        const group = await bindAddress(address, this.#count, taken);
        all.set(key, { url: addressUrl(address, group[0]?.address().port ?? 0), group });
      }
      return all;
    } catch (thrown) {
      this.#unbind(all);
      throw thrown;
    }
  }

  #unbind(bound: ReadonlyMap<string, Bound>): void {
    this.unlock();
    for (const [key, { group }] of bound) {
      if (group === null) this.dealer.cancel(key);
      else for (const socket of group) socket.close();
    }
  }

  #replace(
    bound: ReadonlyMap<string, Bound>,
    removed: readonly string[],
    links: readonly WorkerLink[],
  ): void {
    for (const key of removed) {
      for (const socket of this.#groups.get(key) ?? []) socket.close();
      this.#groups.delete(key);
    }
    for (const [key, { group }] of bound) {
      this.#groups.set(key, group);
      for (const link of links) this.sendTo(link, [key]);
    }
  }

  /** sendTo sends a worker its sockets of these addresses. @param keys default: all */
  sendTo(link: WorkerLink, keys: Iterable<string> = this.#groups.keys()): void {
    for (const key of keys) {
      const group = this.#groups.get(key) ?? [];
      const handle = group[link.index % group.length]?.handle();
      if (handle) link.send({ type: 'listen-socket', address: key }, handle);
    }
  }

  /**
   * inheritedBy is what the worker of a slot inherits; for its fork. Nothing after close().
   *
   * @returns fds: descriptors of this process, in the order of the worker's; listenFds: see WorkerPlace
   */
  inheritedBy(slot: number): { fds: number[] } & Pick<WorkerPlace, 'listenFds'> {
    const fds: number[] = [];
    const listenFds: Record<string, number> = {};
    for (const [key, group] of this.#groups) {
      const socket = group?.[slot % group.length];
      if (socket !== undefined) listenFds[key] = FIRST_INHERITED_FD - 1 + fds.push(socket.fd());
    }
    return { fds, listenFds };
  }

  /** fds are the descriptors of all sockets, for a primary that goes on with them; null where some are the dealer's, which stay here. */
  fds(): number[] | null {
    const groups = [...this.#groups.values()];
    if (groups.includes(null)) return null;
    return groups.flatMap((group) => group ?? []).map((socket) => socket.fd());
  }

  /** unlock gives the locks up once the workers listen: another instance then finds the address taken. */
  unlock(): void {
    for (const lock of this.#locks.splice(0)) lock.close();
  }

  /**
   * letGo is called in the drain of the instance when the first worker is about to close its listeners. The dealer accepts those who
   * wait and stops listening; an inherited socket closes with its workers from then on.
   */
  letGo(): Promise<void> {
    this.#closeBound();
    this.#letGo ??= this.dealer.stop();
    return this.#letGo;
  }

  /** close lets go of everything at once. Safe to call twice. */
  close(): void {
    this.unlock();
    this.#closeBound();
    this.dealer.close();
  }

  #closeBound(): void {
    for (const group of this.#groups.values()) {
      for (const socket of group?.splice(0) ?? []) socket.close();
    }
  }

  async #lock(addresses: readonly ListenAddress[]): Promise<void> {
    const ports = addresses.flatMap((address) =>
      address.kind === 'tcp' && address.port !== 0 ? address.port : [],
    );
    for (const port of new Set(ports)) this.#locks.push(await lockStart(port));
  }
}

function assertSupported(): void {
  let missing: string | null = null;
  if (process.platform !== 'linux') missing = 'Linux';
  // Since 24.19 and 26.4; a Node 24.18 has none, whatever its types say.
  else if (typeof net.BoundSocket !== 'function') missing = 'Node.js 24.19 or later';
  if (missing !== null) throw new LbError('listen_failed', `accept: reuse_port needs ${missing}`);
}

/** Throws listen_failed with EADDRINUSE where another instance holds the lock of the port. */
async function lockStart(port: number): Promise<net.Server> {
  const lock = net.createServer((socket) => socket.destroy()).unref();
  try {
    await once(lock.listen({ path: `\0sluice-reuse-port-${port}` }), 'listening');
  } catch (cause) {
    const code = systemCodeOf(cause) ?? 'unknown';
    const message = `cannot listen on port ${port}: ${code}: another instance is starting on it`;
    throw new LbError('listen_failed', message, { cause });
  }
  return lock;
}

/** @param taken sockets of the address that need not be bound */
async function bindAddress(
  address: TcpAddress,
  count: number,
  taken: readonly HeldSocket[],
): Promise<HeldSocket[]> {
  const missingCount = count - taken.length;
  if (missingCount === 0) return [...taken];
  try {
    const { host, port } = address;
    const bind = (at: string) => [
      ...taken,
      ...bindGroup(at, { port, count: missingCount, isFirst: taken.length === 0 }),
    ];
    return await (host === null ? bindEverywhere(bind) : bind((await lookup(host)).address));
  } catch (cause) {
    // Those that were taken over may be without SO_REUSEPORT: then all workers share them.
    if (taken.length > 0) return [...taken];
    throw listenFailure(address, cause);
  }
}

interface GroupOptions {
  port: number;
  count: number;
  /** Whether nobody may listen there yet. */
  isFirst: boolean;
}

/** Sockets of one port; where that is 0, the first one chooses it. */
function bindGroup(host: string, { port, count, isFirst }: GroupOptions): HeldSocket[] {
  const reusePort = count > 1 || !isFirst;
  if (reusePort && isFirst && port !== 0) new net.BoundSocket({ host, port }).close();
  const group: net.BoundSocket[] = [];
  try {
    while (group.length < count) {
      const samePort = group[0]?.address().port ?? port;
      group.push(new net.BoundSocket({ host, port: samePort, reusePort }));
    }
    return group.map((socket) => new HeldSocket(socket.fd(), socket));
  } catch (thrown) {
    for (const socket of group) socket.close();
    throw thrown;
  }
}
