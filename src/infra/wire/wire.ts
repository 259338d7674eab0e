/**
 * Wire is the byte stream below one connection, to a client or to a backend. Everything above it (parsers, connections,
 * bodies) is written once; below it are two implementations: SocketWire on node's documented API, HandleWire on the handle
 * inside a socket, for the exact Node.js versions that it was tested on (wire-choice.ts).
 *
 * Reads go into memory that the owner chooses: nextBuffer is asked before the first read and after each onRead. Bytes are
 * valid until onRead returns, or for longer where the owner does not give the same memory out again.
 *
 * Writes return whether the kernel has every byte written so far. A write that returns false keeps its chunk, and every
 * later one, in use until onDrain; text is the wire's own. After close() or end() writes do nothing and return true. A
 * write that fails, and any behind it, returns false as well: onWriteError or onBroken follows, and no onDrain. Owners
 * never get a call back from within a write.
 */
import { isIP, type Socket } from 'node:net';
import type { WireName } from '../../contract/data-path.ts';

export interface WireEvents {
  /** The memory for the next read, 1 byte or more. */
  nextBuffer(): Buffer;
  /** A read brought this many bytes, at the front of the buffer that nextBuffer gave last. */
  onRead(byteCount: number): void;
  /** The peer will send nothing more (FIN). */
  onEnd(): void;
  /** Everything written so far has left for the kernel. Called once after writes returned false. */
  onDrain(): void;
  /** A write failed: nothing that is written from now on leaves. What the peer has sent may still be read. Once. */
  onWriteError(error: Error): void;
  /** The connection is broken; the wire has closed itself. Last call. */
  onBroken(error: Error): void;
}

export interface ConnectEvents extends WireEvents {
  /** The connection is open: writes may begin. Before it, onBroken tells that it failed. */
  onConnect(): void;
}

export interface Wire {
  /** Whether bytes written wait in this process for the kernel. */
  readonly blocked: boolean;
  /** Grows when the kernel takes bytes; for WriteWatch. */
  readonly takenBytes: number;
  /** Whether the peer may still send: false after its FIN or any end. */
  readonly readable: boolean;
  /** Whether a write has failed. */
  readonly writeFailed: boolean;
  readonly closed: boolean;

  /** writeText sends latin1 text. */
  writeText(text: string): boolean;
  /** writeChunk sends `before` (latin1), the chunk and `after` in one system call; either text may be ''. */
  writeChunk(before: string, chunk: Buffer, after: string): boolean;
  /** probe writes nothing: a peer that has reset shows by it, although nothing is read (onWriteError). */
  probe(): void;
  /** pause stops reading, at once but for the bytes of the read under way. */
  pause(): void;
  resume(): void;
  /** end sends our FIN behind what was written; reading goes on. */
  end(): void;
  /** close gives the connection up; bytes that wait are lost. Nothing is called afterwards. */
  close(): void;
  /** reset closes with a RST, where the transport has one, so that no peer takes the end for a proper one. */
  reset(): void;
}

export interface ConnectTarget {
  /** Name or address; a name is resolved. */
  host: string;
  port: number;
}

/** WireMaker is one per process: the way to all of its wires. */
export interface WireMaker {
  readonly name: WireName;
  /**
   * accept takes over a socket that a server has just accepted, with allowHalfOpen and without pauseOnConnect; nobody else
   * may touch it afterwards.
   */
  accept(socket: Socket, events: WireEvents): Wire;
  connect(target: ConnectTarget, events: ConnectEvents): Wire;
}

/** resetOrDestroy ends a socket by a RST where its transport knows one of ours: TCP, without TLS above it. */
export function resetOrDestroy(socket: Socket): void {
  if (isIP(socket.remoteAddress ?? '') !== 0 && !('encrypted' in socket)) socket.resetAndDestroy();
  else socket.destroy();
}
