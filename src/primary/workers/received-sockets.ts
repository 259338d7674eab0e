/**
 * Listening sockets that somebody else has bound: the primary before this one, or systemd. They are taken over for the addresses of
 * the configuration that they are bound to.
 */
import { lookup } from 'node:dns/promises';
import { isWildcard } from '../../contract/addresses.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import type { HeldSocket } from './held-socket.ts';

/** ReceivedSockets is made by StartupSockets before it binds. */
export class ReceivedSockets {
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
    if (host === null) return samePort.filter((socket) => isWildcard(socket.address().address));
    const at = (await lookup(host)).address;
    return samePort.filter((socket) => socket.address().address === at);
  }
}
