/** A TCP proxy in front of a Redis that delays replies, cuts connections inside a reply, or corrupts a reply. */
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

export interface FaultyWire {
  /** redis://127.0.0.1:port */
  readonly url: string;
  /** Delay of each piece of a reply; initially 0. */
  delayMs: number;
  /** Number of connections cut so far. */
  readonly cutCount: number;
  /** true: before the next reply, sends the start of a reply longer than all that will follow. Then false again. */
  announceTooMuch: boolean;
  /** cutNext cuts one connection per entry of `afterBytes`, after that many bytes of its next reply. */
  cutNext(afterBytes: readonly number[]): void;
  close(): Promise<void>;
}

export async function startFaultyWire(redisPort: number): Promise<FaultyWire> {
  const wire = new Wire(redisPort);
  await wire.listen();
  return wire;
}

class Wire implements FaultyWire {
  delayMs = 0;
  announceTooMuch = false;
  cutCount = 0;
  readonly #redisPort: number;
  readonly #server = createServer((client) => this.#join(client));
  readonly #sockets = new Set<Socket>();
  #cuts: number[] = [];

  constructor(redisPort: number) {
    this.#redisPort = redisPort;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  listen(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
  }

  cutNext(afterBytes: readonly number[]): void {
    this.#cuts.push(...afterBytes);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket): void {
    const server = dial({ port: this.#redisPort, host: '127.0.0.1', noDelay: true });
    client.setNoDelay(true);
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      // An error also closes the other side.
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on('data', (command) => server.write(command));
    let order: Promise<unknown> = Promise.resolve();
    server.on('data', (reply: Buffer) => {
      const { delayMs } = this;
      if (delayMs === 0) order = order.then(() => this.#pass(client, reply));
      else order = Promise.all([order, pause(delayMs)]).then(() => this.#pass(client, reply));
    });
  }

  #pass(client: Socket, reply: Buffer): void {
    if (this.announceTooMuch) {
      this.announceTooMuch = false;
      client.write('$100000000\r\n');
    }
    const cutAfter = this.#cuts[0];
    if (cutAfter === undefined || cutAfter >= reply.length) {
      client.write(reply);
      return;
    }
    this.#cuts.shift();
    this.cutCount++;
    if (cutAfter === 0) client.destroy();
    else client.write(reply.subarray(0, cutAfter), () => client.destroy());
  }
}
