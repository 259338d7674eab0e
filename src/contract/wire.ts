/**
 * Wire is the byte stream below one connection, to a client or to a backend. infra/wire has two implementations: SocketWire on
 * node's documented API, HandleWire on the handle inside a socket, for the exact Node.js versions it was tested on. A third is
 * a stream of HTTP/2 that has become a tunnel (worker/inbound/h2/stream-wire.ts).
 *
 * Reads go into memory that the owner chooses: nextBuffer is asked before the first read and after each onRead. Bytes are valid
 * until onRead returns, or longer where the owner does not give the same memory out again.
 *
 * A write returns whether the kernel has every byte so far. After false, its chunk and all later ones are in use until onDrain.
 * After close() or end() a write does nothing and returns true. A write that fails, and any after it, returns false too: then
 * onWriteError or onBroken follows, and no onDrain. A write never calls its owner back.
 */
export interface WireEvents {
  /** The memory for the next read, 1 byte or more. */
  nextBuffer(): Buffer;
  /** A read brought this many bytes, at the front of the buffer that nextBuffer gave last. */
  onRead(byteCount: number): void;
  /** The peer will send nothing more (FIN). */
  onEnd(): void;
  /** The kernel has everything written so far. Called once after writes returned false. */
  onDrain(): void;
  /** A write failed, and no later one leaves. What the peer has sent may still be read. Called once. */
  onWriteError(error: Error): void;
  /** The connection is broken, and the wire has closed itself. The last call. */
  onBroken(error: Error): void;
}

export interface Wire {
  /** Whether written bytes wait in this process for the kernel. */
  readonly blocked: boolean;
  /** Bytes that the kernel has taken; for WriteWatch. */
  readonly takenBytes: number;
  /** Whether bytes may still come: false after the peer's FIN, or any end. */
  readonly readable: boolean;
  readonly writeFailed: boolean;
  readonly closed: boolean;

  /** writeText sends latin1 text. */
  writeText(text: string): boolean;
  /** writeChunk sends `before` (latin1), the chunk and `after` in one system call; either text may be ''. */
  writeChunk(before: string, chunk: Buffer, after: string): boolean;
  /**
   * handTo gives the wire to another owner: from now on `events` hears of it. Outside of onRead the next read still goes into the
   * memory that the owner before has given.
   */
  handTo(events: WireEvents): void;
  /** probe writes nothing. On a connection that is not read, this shows a reset (onWriteError). */
  probe(): void;
  /** pause stops reading; the bytes of the read under way still come. */
  pause(): void;
  resume(): void;
  /** end sends our FIN after what was written; reading goes on. */
  end(): void;
  /** close ends both directions at once; bytes that wait are lost. Nothing is called afterwards. */
  close(): void;
  /** reset is close with a RST, where the transport has one, so that the peer does not take the end for a proper one. */
  reset(): void;
}
