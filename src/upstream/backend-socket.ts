/**
 * A TCP socket that outlives its failed writes. node destroys a socket as soon as a write fails (EPIPE, ECONNRESET), and
 * with it a response that already lies in the receive buffer: a backend that answers 413 and closes while the upload is
 * still coming would be a 502. Here a failed write only ends the writing; what the peer said before is read first, and
 * reading decides how the connection ends (a read error or a FIN always follows).
 */
import { Socket, type SocketConstructorOpts } from 'node:net';
import { LbError, systemCodeOf } from '../contract/errors.ts';
import { type TextWriter, writeTextPublicly } from '../infra/text-writes.ts';

/** How long before the operating system asks a silent backend whether it is there. */
const KEEP_ALIVE_PROBE_MS = 30_000;

/** What this machine, and not the backend, lacks where a connection cannot even be begun: descriptors, ports, memory. */
const OWN_SHORTAGES: ReadonlySet<string> = new Set([
  'EMFILE',
  'ENFILE',
  'EADDRNOTAVAIL',
  'ENOBUFS',
  'ENOMEM',
]);

type WriteCallback = (error?: Error | null) => void;

export class BackendSocket extends Socket {
  /** The first failure of a write; everything written later is discarded. */
  writeError: Error | null = null;

  readonly #onWriteError: () => void;
  readonly #writeText: TextWriter;
  /** The stream machinery has one write under way at a time. */
  #callback: WriteCallback | null = null;
  readonly #written: WriteCallback;

  /** @param onWriteError called once, possibly inside write(): it must not destroy the socket there and then */
  constructor(
    options: SocketConstructorOpts,
    onWriteError: () => void,
    writeText: TextWriter = writeTextPublicly,
  ) {
    super(options);
    this.#onWriteError = onWriteError;
    this.#writeText = writeText;
    this.#written = (error) => {
      const callback = this.#callback;
      this.#callback = null;
      if (error && !this.destroyed) this.#fail(error);
      callback?.(this.destroyed ? error : null);
    };
    this.setNoDelay(true);
    this.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
  }

  /** sendText writes a whole message (latin1). Returns whether nothing of it waits in this process; see TextWriter. */
  sendText(text: string): boolean {
    return this.#writeText(this, text);
  }

  override _write(chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void {
    if (this.writeError !== null) {
      callback(null);
      return;
    }
    this.#callback = callback;
    super._write(chunk, encoding, this.#written);
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], callback: WriteCallback): void {
    if (this.writeError !== null) {
      callback(null);
      return;
    }
    this.#callback = callback;
    super._writev?.(chunks, this.#written);
  }

  #fail(error: Error): void {
    if (this.writeError !== null) return;
    this.writeError = error;
    this.#onWriteError();
  }
}

/** connectErrorOf says whose fault it is that a socket could not be connected; in both cases nothing was sent. */
export function connectErrorOf(error: Error): LbError {
  const code = OWN_SHORTAGES.has(systemCodeOf(error) ?? '') ? 'overload' : 'connect_failed';
  return new LbError(code, `connect failed: ${error.message}`, { cause: error, retryable: true });
}
