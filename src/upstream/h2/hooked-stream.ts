/**
 * A stream of node:http2 that tells its owner directly what comes. `push`, to which node:http2 gives each piece, and `emit` are
 * replaced on the object, as a subclass would. So no listener is made per request. node drops the pieces that wait in it when a
 * connection is lost; here none wait.
 */
import { EventEmitter } from 'node:events';
import type { ClientHttp2Stream } from 'node:http2';
import { Duplex } from 'node:stream';
import type { H2Connection } from './h2-connection.ts';

/** StreamEvents is what the owner is told. */
export interface StreamEvents {
  /** @param flags of the frame that brought the fields */
  onFields(raw: string[], flags: number): void;
  onInterim(raw: string[]): void;
  onTrailers(raw: string[]): void;
  /** @returns whether more may come; false closes the window of the stream until readMore */
  onPiece(piece: Buffer): boolean;
  /** The backend has ended the stream: all has come, the trailers included. */
  onEnded(): void;
  /** Writes may go on. */
  onDrain(): void;
  /** The stream is closed, whatever the cause. The last call. */
  onClosed(stream: HookedStream): void;
}

const OWNER = Symbol('owner');
export const CONNECTION = Symbol('connection');
/** Whether the backend has ended the stream properly. */
export const ENDED = Symbol('ended');

export type HookedStream = ClientHttp2Stream & {
  [OWNER]: StreamEvents;
  [CONNECTION]: H2Connection;
  [ENDED]: boolean;
};

/**
 * The owner of a closed stream. node's table of streams, and so V8's old generation, may keep one until the next full collection, with
 * everything that hangs on it.
 */
const NOBODY: StreamEvents = {
  onFields: () => undefined,
  onInterim: () => undefined,
  onTrailers: () => undefined,
  onPiece: () => false,
  onEnded: () => undefined,
  onDrain: () => undefined,
  onClosed: () => undefined,
};

/** hook is called once for a stream that was just opened. */
export function hook(stream: ClientHttp2Stream, owner: StreamEvents, connection: H2Connection): HookedStream {
  const hooked = stream as HookedStream;
  hooked[OWNER] = owner;
  hooked[CONNECTION] = connection;
  hooked[ENDED] = false;
  hooked.push = push;
  hooked.emit = emit;
  return hooked;
}

/** readMore opens the window of the stream: at first, and after onPiece returned false. */
export function readMore(stream: HookedStream): void {
  if (!stream.destroyed) stream._read(0);
}

function push(this: HookedStream, chunk: Buffer | null): boolean {
  if (chunk !== null) {
    this[CONNECTION].heard = true;
    return this[OWNER].onPiece(chunk);
  }
  // node ends a stream that was reset with NO_ERROR, or whose connection is lost, as a complete one, but closes it before.
  if (!this.closed) this[ENDED] = true;
  Duplex.prototype.push.call(this, null);
  // There is nothing to read, and node learns that all was read.
  if (!this.destroyed) this.read(0);
  return false;
}

function emit(
  this: HookedStream,
  event: string | symbol,
  first?: unknown,
  second?: unknown,
  third?: unknown,
): boolean {
  const owner = this[OWNER];
  switch (event) {
    case 'response':
      this[CONNECTION].heard = true;
      owner.onFields(third as string[], second as number);
      return true;
    case 'headers':
      this[CONNECTION].heard = true;
      owner.onInterim(third as string[]);
      return true;
    case 'trailers':
      owner.onTrailers(third as string[]);
      return true;
    case 'drain':
      owner.onDrain();
      return true;
    case 'error':
      // `close` follows and tells the rest.
      return true;
    case 'close':
      this[CONNECTION].leave();
      owner.onClosed(this);
      this[OWNER] = NOBODY;
      return true;
    case 'end':
      if (this[ENDED]) owner.onEnded();
  }
  // node:http2 listens to some itself.
  return EventEmitter.prototype.emit.call(this, event, first, second, third);
}
