/** A connection whose first bytes must be looked at before it is known who serves it, or whose it is. */
import type { Socket } from 'node:net';
import type { ClientFacts } from '../../contract/downstream.ts';
import { BaseConnection, type ConnectionOwner } from './base-connection.ts';

/** UndecidedConnection keeps the bytes until handOver gives the socket away, and has the time of a head for them. */
export abstract class UndecidedConnection extends BaseConnection {
  readonly protocol = 'pending';
  readonly idle = true;
  protected readonly socket: Socket;
  protected bytes: Buffer = Buffer.alloc(0);

  readonly #onData = (chunk: Buffer): void => {
    if (this.socket.destroyed) return;
    this.bytes = this.receiving ? Buffer.concat([this.bytes, chunk]) : chunk;
    this.look();
  };
  readonly #onEnd = (): void => this.onEnded();
  /** `close` follows and is heard; an error without a listener would end the process. */
  readonly #onError = (): void => undefined;
  readonly #onClose = (): void => this.leave();

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner) {
    super(client, owner);
    this.socket = socket;
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    this.armFromAccept(owner.plan.timeouts.headersMs);
  }

  /** look is called with more of the bytes. It must bound them. */
  protected abstract look(): void;
  /** onEnded is called with a FIN. */
  protected abstract onEnded(): void;

  protected read(): void {
    this.socket.on('data', this.#onData);
    this.socket.on('end', this.#onEnd);
  }

  /** discard drops what still comes. */
  protected discard(): void {
    this.socket.off('data', this.#onData).resume();
  }

  get receiving(): boolean {
    return this.bytes.length > 0;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** handOver puts the bytes back, without the first `takenBytes`, and gives the socket to `take`; it is paused. */
  protected handOver(takenBytes: number, take: (socket: Socket) => void): void {
    const { socket } = this;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    this.forgetDeadline();
    // Paused, for a flowing socket would give the bytes to nobody.
    socket.pause();
    const rest = this.bytes.subarray(takenBytes);
    if (rest.length > 0) socket.unshift(rest);
    take(socket);
    socket.off('error', this.#onError);
  }
}
