/**
 * Listening sockets that somebody else has bound: the primary before this one, or systemd. They are taken over for the addresses of
 * the configuration that they are bound to.
 */
import { lookup } from 'node:dns/promises';
import { fstatSync, readFileSync } from 'node:fs';
import type { AddressInfo, BoundSocket, Socket } from 'node:net';
import { addressText } from '../../contract/addresses.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import { heldSocket } from '../../infra/listeners.ts';

/** The handle of node's that came with a message, or that it makes of a descriptor. */
export interface SocketHandle {
  readonly fd: number;
}

/** What a wildcard is bound to, with and without IPv6. */
const EVERYWHERE: ReadonlySet<string> = new Set(['::', '0.0.0.0']);

/** HeldSocket is a bound socket of this process that workers can inherit or be sent: one of those, or one that is bound here. */
export class HeldSocket {
  readonly #fd: number;
  /** Owns the descriptor. */
  readonly #owner: Socket;

  /** @param handle node's, where there is one: two of them must not own one descriptor */
  constructor(fd: number, handle?: SocketHandle | BoundSocket) {
    this.#fd = fd;
    this.#owner = heldSocket(handle === undefined ? { fd } : { handle });
  }

  fd(): number {
    return this.#fd;
  }

  /** handle is for messages to workers, which node sends with a handle of its own; null once it is closed. */
  handle(): SocketHandle | null {
    return (this.#owner as { _handle?: SocketHandle | null })._handle ?? null;
  }

  address(): { address: string; port: number } {
    const { address = '', port = 0 } = this.#owner.address() as Partial<AddressInfo>;
    return { address, port };
  }

  /** path is where a Unix socket is bound; null for another one. Node does not tell it; Linux does, by its inode. */
  path(): string | null {
    if (this.address().port !== 0) return null;
    const line = new RegExp(`^(?:\\S+ +){6}${fstatSync(this.#fd).ino} (.*)$`, 'm');
    return line.exec(readFileSync('/proc/net/unix', 'utf8'))?.[1] ?? null;
  }

  /** bound names it in a message. */
  bound(): string {
    const { address, port } = this.address();
    const path = this.path();
    return addressText(path === null ? { kind: 'tcp', host: address, port } : { kind: 'unix', path });
  }

  /** Whether two descriptors are of one socket. */
  isSameAs(other: HeldSocket): boolean {
    return fstatSync(this.#fd).ino === fstatSync(other.#fd).ino;
  }

  close(): void {
    this.#owner.destroy();
  }
}

/** GivenSockets is made by the primary's main before it binds. */
export class GivenSockets {
  #sockets: HeldSocket[] = [];

  /** add takes a socket over, unless it is here already. */
  add(socket: HeldSocket): void {
    if (this.#sockets.some((each) => each.isSameAs(socket))) socket.close();
    else this.#sockets.push(socket);
  }

  /** count is the number of sockets that are bound to the address. */
  async count(address: ListenAddress): Promise<number> {
    return (await this.#of(address)).length;
  }

  /** take gives away up to `count` sockets of the address; the caller closes them. */
  async take(address: ListenAddress, count: number): Promise<HeldSocket[]> {
    const taken = (await this.#of(address)).slice(0, count);
    this.#sockets = this.#sockets.filter((each) => !taken.includes(each));
    return taken;
  }

  /** close closes those that nobody took. @returns where they are bound */
  close(): string[] {
    return this.#sockets.splice(0).map((socket) => {
      const bound = socket.bound();
      socket.close();
      return bound;
    });
  }

  async #of(address: ListenAddress): Promise<HeldSocket[]> {
    if (address.kind === 'unix') return this.#sockets.filter((socket) => socket.path() === address.path);
    // A port of 0 is another one each time.
    if (address.port === 0) return [];
    const samePort = this.#sockets.filter((socket) => socket.address().port === address.port);
    if (samePort.length === 0) return [];
    const { host } = address;
    if (host === null) return samePort.filter((socket) => EVERYWHERE.has(socket.address().address));
    const at = (await lookup(host)).address;
    return samePort.filter((socket) => socket.address().address === at);
  }
}
