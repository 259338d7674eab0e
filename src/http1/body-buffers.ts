/**
 * Memory for bodies. Dead ArrayBuffers wait for V8's collector, which starts only after tens of MiB of them: buffers are
 * therefore recycled, or freed by hand with transfer(0) (bulk measurements: 0.2–1 MiB of growth against 41–69).
 *
 * Two kinds, never mixed: `shared` is handed to every socket that waits for a head, so nothing of it survives the read
 * callback. An *own* buffer belongs to one streaming response from take() to give() or drop(). Keeping a shared buffer
 * for one slow client leaks other clients' bytes into its response.
 */

/** A read of this size is the largest that a head or a small answer takes. */
export const FIRST_BUFFER_BYTES = 65_536;
/** What a stream grows to once a read fills the first one. */
export const LARGE_BUFFER_BYTES = 262_144;
const LARGE_LIVE_MAX = 32;
const POOLED_MAX = 16;
/** Smaller blocks may come from node's own slab and are not worth a call. */
const FREE_MIN_BYTES = 4096;
/** Uploads up to this number hold a batch each; beyond, each piece leaves by itself. */
const BATCHING_UPLOADS_MAX = 32;
/** What tests find where someone reads memory that is no longer his. */
export const POISON = 0x21;

/** BodyBuffers is one per worker, handed to all its backend pools and to the readers of large request bodies. */
export class BodyBuffers {
  readonly shared = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
  /** Request bodies under way; kept by the request senders. */
  uploadCount = 0;

  readonly #poisoned: boolean;
  readonly #first: Buffer<ArrayBuffer>[] = [];
  readonly #large: Buffer<ArrayBuffer>[] = [];
  #largeLive = 0;

  /** @param options poisoned: for tests, overwrites memory at the moment it is given back instead of trusting everybody */
  constructor(options: { poisoned?: boolean } = {}) {
    this.#poisoned = options.poisoned ?? false;
  }

  /** Whether uploads may collect chunks into batches. */
  get batching(): boolean {
    return this.uploadCount <= BATCHING_UPLOADS_MAX;
  }

  get largeLiveCount(): number {
    return this.#largeLive;
  }

  get pooledCount(): number {
    return this.#first.length + this.#large.length;
  }

  /** take lends a buffer of FIRST_BUFFER_BYTES; its content is whatever it held before. */
  take(): Buffer<ArrayBuffer> {
    return this.#first.pop() ?? Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
  }

  /** takeLarge lends one of LARGE_BUFFER_BYTES, null when the budget is spent. */
  takeLarge(): Buffer<ArrayBuffer> | null {
    if (this.#largeLive >= LARGE_LIVE_MAX) return null;
    this.#largeLive++;
    return this.#large.pop() ?? Buffer.allocUnsafeSlow(LARGE_BUFFER_BYTES);
  }

  /** give takes a buffer back of which no byte is on its way any more. */
  give(buffer: Buffer<ArrayBuffer>): void {
    this.drop(buffer);
    if (this.#poisoned) buffer.fill(POISON);
    const pool = buffer.length === LARGE_BUFFER_BYTES ? this.#large : this.#first;
    if (pool.length < POOLED_MAX) pool.push(buffer);
    else buffer.buffer.transfer(0);
  }

  /** drop forgets a buffer that a write may still read from: the collector takes it when that is over. */
  drop(buffer: Buffer<ArrayBuffer>): void {
    if (buffer.length === LARGE_BUFFER_BYTES) this.#largeLive--;
  }

  /** free gives the memory of a sent chunk back at once, if the chunk is all there is of its ArrayBuffer. */
  free(chunk: Buffer): void {
    const memory = chunk.buffer;
    if (chunk.length < FREE_MIN_BYTES || chunk.length !== memory.byteLength) return;
    if (!(memory instanceof ArrayBuffer) || memory.detached) return;
    if (this.#poisoned) chunk.fill(POISON);
    memory.transfer(0);
  }

  /** afterRead is called when a read callback is over: from now on the next socket may write into `shared`. */
  afterRead(): void {
    if (this.#poisoned) this.shared.fill(POISON);
  }
}

let processBuffers: BodyBuffers | null = null;

/** processBodyBuffers is the one of this process, for whoever was given none. */
export function processBodyBuffers(): BodyBuffers {
  processBuffers ??= new BodyBuffers();
  return processBuffers;
}
