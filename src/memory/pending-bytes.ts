/**
 * Bytes that cannot be used yet, copied out of the memory of a read, and the bound on the memory of all of them in a worker.
 * The memory is a power of two, at least MIN_BYTES: at most twice the bytes as they come, four times once some were used. All moves
 * together are linear: one to smaller memory, or at equal size, copies at most three times what was used since the last move.
 */
const MIN_BYTES = 1024;
const NONE = Buffer.alloc(0);
/** What takes no more is not counted. */
const SPARED_BYTES = 4_096;
export const PENDING_MAX_BYTES = 67_108_864;

/** PendingOwner is the connection of a client. */
export interface PendingOwner {
  readonly pendingMemory: PendingMemory;
  destroy(): void;
}

/** CountedMemory is what PendingMemory counts: PendingBytes, or bytes that wait elsewhere for a connection or a stream. */
export class CountedMemory {
  readonly owner: { destroy(): void } | null;
  /** PendingMemory alone writes these: what it has counted, and the neighbours in its queue. */
  countedBytes = 0;
  older: CountedMemory = this;
  younger: CountedMemory = this;

  /** @param owner null: they are not counted */
  constructor(owner: CountedMemory['owner']) {
    this.owner = owner;
  }
}

/** PendingBytes is owned by a connection or by one of its parsers. */
export class PendingBytes extends CountedMemory {
  /** The bytes are from…to-1 of this. */
  buffer: Buffer = NONE;
  from = 0;
  to = 0;
  override readonly owner: PendingOwner | null;

  /** @param owner null: they are not counted */
  constructor(owner: PendingOwner | null = null) {
    super(owner);
    this.owner = owner;
  }

  get length(): number {
    return this.to - this.from;
  }

  /** append copies source[sourceFrom…sourceTo-1] to the end. Slices of `buffer` taken before keep their content. */
  append(source: Buffer, sourceFrom: number, sourceTo: number): void {
    const byteCount = sourceTo - sourceFrom;
    if (this.to + byteCount > this.buffer.length) {
      const length = this.length + byteCount;
      // Moved at equal size, nearly full memory would be full again after the next few bytes.
      const isCramped = this.from > 0 && length > 0.75 * this.buffer.length;
      this.#move(isCramped ? Math.max(length, this.buffer.length + 1) : length);
    }
    source.copy(this.buffer, this.to, sourceFrom, sourceTo);
    this.to += byteCount;
  }

  /** consumeTo drops the bytes before an index; with the last byte goes the memory. */
  consumeTo(index: number): void {
    this.from = index;
    if (this.from === this.to) this.clear();
    else if (this.buffer.length > Math.max(MIN_BYTES, 4 * this.length)) this.#move(this.length);
  }

  /** takeText takes all of them out, as latin1. */
  takeText(): string {
    const text = this.buffer.toString('latin1', this.from, this.to);
    this.clear();
    return text;
  }

  clear(): void {
    this.#swap(NONE);
    this.from = this.to = 0;
  }

  #move(byteCount: number): void {
    const next = Buffer.allocUnsafeSlow(Math.max(MIN_BYTES, 2 ** Math.ceil(Math.log2(byteCount))));
    this.buffer.copy(next, 0, this.from, this.to);
    this.to = this.length;
    this.from = 0;
    this.#swap(next);
  }

  #swap(next: Buffer): void {
    this.owner?.pendingMemory.resize(this, next.length);
    this.buffer = next;
  }
}

/**
 * PendingMemory bounds what is held for all clients of a worker, which makes one for each kind.
 *
 * Invariant: after cutExcess, those that take more than SPARED_BYTES take at most `maxBytes` together. The others are never
 * counted or cut, however many they are.
 *
 * The client that has taken more than SPARED_BYTES for the longest time without a break is cut first, whatever it takes. So one
 * whose bytes wait for t seconds is cut only if others come to be counted with half of `maxBytes` within these t seconds:
 * heads that never end, and pipelines that are always full, go before an upload that waits for its backend. To send more, or to
 * have a part served, does not make a client younger.
 */
export class PendingMemory {
  /** What is counted. */
  bytes = 0;
  /** A ring without a client: its `younger` is the oldest in the queue, its `older` the youngest. */
  readonly #ring: CountedMemory = new CountedMemory(null);
  readonly #maxBytes: number;

  constructor(maxBytes = PENDING_MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** resize is called by those that hold them. It cuts nobody, for a read is under way. */
  resize(held: CountedMemory, toBytes: number): void {
    const before = held.countedBytes;
    const after = toBytes > SPARED_BYTES ? toBytes : 0;
    held.countedBytes = after;
    this.bytes += after - before;
    if (before === 0 && after > 0) link(this.#ring.older, held, this.#ring);
    else if (before > 0 && after === 0) unlink(held);
  }

  /** cutExcess is called after reads, or looks. It may close the caller's connection. @param onCut is told of each that is closed */
  cutExcess(onCut: { onOverload(): void }): void {
    while (this.bytes > this.#maxBytes) {
      onCut.onOverload();
      const oldest = this.#ring.younger;
      this.resize(oldest, 0);
      oldest.owner?.destroy();
    }
  }
}

function link(older: CountedMemory, held: CountedMemory, younger: CountedMemory): void {
  held.older = older;
  held.younger = younger;
  older.younger = younger.older = held;
}

function unlink(held: CountedMemory): void {
  held.older.younger = held.younger;
  held.younger.older = held.older;
  held.older = held.younger = held;
}
