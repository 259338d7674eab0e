/** The transport of the oracles: a socket without a kernel, so that a hundred thousand connections take seconds. */
import { Duplex } from 'node:stream';

/** MemorySocket gives what is fed to its reader and keeps what the reader writes. */
export class MemorySocket extends Duplex {
  /** latin1. */
  written = '';
  onWritten: (() => void) | null = null;

  constructor() {
    super({ autoDestroy: true, allowHalfOpen: true });
    // Readers hear of errors through their own requests.
    this.on('error', () => this.destroy());
  }

  /** feed is what a read of the kernel brought. */
  feed(bytes: Buffer): void {
    // A copy: readers may keep what they were given, and the caller's bytes are used by others too.
    if (!this.destroyed && !this.readableEnded) this.push(Buffer.from(bytes));
  }

  /** finish is the other side's FIN. */
  finish(): void {
    if (!this.destroyed && !this.readableEnded) this.push(null);
  }

  override _read(): void {
    this.readableFlowing;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written += chunk.toString('latin1');
    done();
    this.onWritten?.();
  }

  // What node:http and undici expect of a socket.
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  destroySoon(): void {
    this.end(() => this.destroy());
  }
}

/** turn lets everything happen that a read has set going. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
