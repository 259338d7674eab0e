/**
 * Writes of a handle wire over TLS. A second write before the first has ended aborts the process, and a write ends, at the
 * earliest, later in the turn of the event loop in which it began: what is written meanwhile waits here, and leaves in one write.
 *
 * Node calls `oncomplete` at the end of a write only where it is set: small answers, for whose end nobody waits, go without.
 */
import { type Handle, systemError, type WriteRequest } from './handle.ts';

/** What a TLS record holds. Shorter writes are put together here; node has encrypted or copied them before the call returns. */
const RECORD = Buffer.allocUnsafeSlow(16_384);

interface SecureRequest extends WriteRequest {
  oncomplete: ((this: SecureRequest, status: number) => void) | null;
  writes: SecureWrites;
}

/** SecureWriter is the wire. */
interface SecureWriter {
  failWrites(error: Error): void;
  /** onWritten is called at the end of a write that somebody waits for. @param drained the wire was blocked, and is not any more */
  onWritten(drained: boolean): void;
}

/** SecureWrites is made by a wire when it takes over the handle of an open TLS socket. */
export class SecureWrites {
  readonly #wire: SecureWriter;
  readonly #handle: Handle;
  /** The TCP handle below. */
  readonly #lower: Handle;
  readonly #WriteWrap: new () => WriteRequest;
  #request: SecureRequest;
  /** Node was given #request, and may have it still. */
  #isGiven = false;
  /** The kernel did not take all of the write under way. */
  #isBlocked = false;
  /** What waits for its end, as `writev` takes it; null: nothing. */
  #queue: unknown[] | null = null;

  constructor(wire: SecureWriter, handle: Handle, WriteWrap: new () => WriteRequest) {
    this.#wire = wire;
    this.#handle = handle;
    this.#lower = handle._parent;
    this.#WriteWrap = WriteWrap;
    this.#request = this.#newRequest();
  }

  get blocked(): boolean {
    return this.#isBlocked || this.#queue !== null;
  }

  /** writing tells whether a write is under way. */
  get writing(): boolean {
    if (this.#isGiven) this.#isGiven = this.#request.getAsyncId() !== -1;
    return this.#isGiven;
  }

  /** awaitEnd asks for onWritten at the end of the write under way. @returns whether there is one */
  awaitEnd(): boolean {
    if (!this.writing) return false;
    this.#request.oncomplete = onWritten;
    return true;
  }

  /** writeText and writeChunk return whether the kernel has everything. */
  writeText(text: string): boolean {
    // An empty write may never end.
    if (text === '') return !this.blocked;
    if (this.awaitEnd()) return this.#enqueue([text, 'latin1']);
    if (text.length <= RECORD.length) return this.#writeRecord(RECORD.write(text, 'latin1'));
    return this.#afterWrite(this.#handle.writeLatin1String(this.#begin(), text), false);
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    const byteCount = before.length + chunk.length + after.length;
    if (byteCount === 0) return !this.blocked;
    const isAlone = before === '' && after === '';
    const parts = isAlone ? [chunk, 'buffer'] : [before, 'latin1', chunk, 'buffer', after, 'latin1'];
    if (this.awaitEnd()) return this.#enqueue(parts);
    if (isAlone)
      return this.#afterWrite(this.#handle.writeBuffer(this.#begin(), chunk), byteCount <= RECORD.length);
    if (byteCount > RECORD.length)
      return this.#afterWrite(this.#handle.writev(this.#begin(), parts, false), false);
    RECORD.write(before, 'latin1');
    chunk.copy(RECORD, before.length);
    RECORD.write(after, before.length + chunk.length, 'latin1');
    return this.#writeRecord(byteCount);
  }

  /** drop is called when the wire is closed. */
  drop(): void {
    this.#queue = null;
  }

  /** written is called by node, also from within a write that fails at once. */
  written(status: number): void {
    const wasBlocked = this.blocked;
    const queue = this.#queue;
    this.#queue = null;
    this.#isGiven = this.#isBlocked = false;
    // Node lets go of the old one only after this call.
    this.#request = this.#newRequest();
    if (status < 0) this.#wire.failWrites(systemError('write', status));
    else if (queue !== null) this.#afterWrite(this.#handle.writev(this.#begin(), queue, false), false);
    this.#wire.onWritten(wasBlocked && !this.blocked);
  }

  #enqueue(parts: unknown[]): boolean {
    if (this.#queue === null) this.#queue = parts;
    else this.#queue.push(...parts);
    return false;
  }

  #writeRecord(byteCount: number): boolean {
    return this.#afterWrite(this.#handle.writeBuffer(this.#begin(), RECORD.subarray(0, byteCount)), true);
  }

  #begin(): SecureRequest {
    this.#isGiven = true;
    this.#request.oncomplete = onWritten;
    return this.#request;
  }

  /** @param isRecord what was written fits into one record, which TLSWrap has handed over; of more it may keep a part */
  #afterWrite(code: number, isRecord: boolean): boolean {
    if (code !== 0) {
      this.#isGiven = false;
      this.#wire.failWrites(systemError('write', code));
      return false;
    }
    // It has failed already.
    if (!this.#isGiven) return false;
    this.#isBlocked =
      this.#lower.writeQueueSize > 0 || (!isRecord && this.#handle.writeQueueSize > RECORD.length);
    if (!this.#isBlocked) this.#request.oncomplete = null;
    return !this.#isBlocked;
  }

  #newRequest(): SecureRequest {
    return Object.assign(new this.#WriteWrap(), { writes: this, oncomplete: null });
  }
}

function onWritten(this: SecureRequest, status: number): void {
  this.writes.written(status);
}
