/** The transport of the other readers: a socket without a kernel, so that 100,000 connections take seconds. */
import { Duplex } from 'node:stream';

/** MemorySocket delivers fed bytes to its reader and records what the reader writes. */
export class MemorySocket extends Duplex {
  /** latin1. */
  written = '';
  onWritten: (() => void) | null = null;

  constructor() {
    super({ autoDestroy: true, allowHalfOpen: true });
    // Readers get errors through their own requests.
    this.on('error', () => this.destroy());
  }

  /** feed delivers the bytes of one read. */
  feed(bytes: Buffer): void {
    // A copy, because readers may keep the bytes and the caller reuses them.
    if (!this.destroyed && !this.readableEnded) this.push(Buffer.from(bytes));
  }

  /** finish delivers the FIN of the other side. */
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

  // Methods that node:http and undici expect of a socket.
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

/** turn waits until everything that a read triggered has run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
