/** A bound socket that the primary holds: one that it has bound, or one that it was given. */
import { fstatSync, readFileSync } from 'node:fs';
import type { AddressInfo, BoundSocket, Socket } from 'node:net';
import { addressText } from '../../contract/addresses.ts';
import { socketOf } from '../../infra/listeners.ts';

/** The handle of node's that came with a message, or that it makes of a descriptor. */
export interface SocketHandle {
  readonly fd: number;
}

/** HeldSocket is one that workers can inherit or be sent; made by ListenSockets, and by whoever receives sockets. */
export class HeldSocket {
  readonly #fd: number;
  /** Owns the descriptor. */
  readonly #owner: Socket;

  /** @param handle node's, where there is one: two of them must not own one descriptor */
  constructor(fd: number, handle?: SocketHandle | BoundSocket) {
    this.#fd = fd;
    this.#owner = socketOf(handle === undefined ? { fd } : { handle });
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
