/** Collects the block of fields of a HEADERS frame and its CONTINUATIONs (RFC 9113 §4.3), and decodes it. */
import { PendingBytes } from '../memory/pending-bytes.ts';
import { FLAG, type Frame, NO_BYTES, PAYLOAD_MAX_BYTES, protocolError } from './frames.ts';
import { HpackDecoder } from './hpack-decoder.ts';

/** As nghttp2 has it; more where the largest head that is read needs them. */
const CONTINUATIONS_MAX = 8;

/** FieldBlocks is owned by a Session. */
export class FieldBlocks {
  /** The stream of the block under way; 0: none. */
  streamId = 0;
  /** Whether the stream ends with it. */
  ends = false;
  readonly #decoder: HpackDecoder;
  readonly #continuationsMax: number;
  readonly #parts = new PendingBytes();
  #continuationCount = 0;
  // The whole block.
  #block: Buffer = NO_BYTES;
  #from = 0;
  #to = 0;

  constructor(limits: { maxFields: number; maxListBytes: number }) {
    this.#decoder = new HpackDecoder(limits);
    this.#continuationsMax = Math.max(CONTINUATIONS_MAX, Math.ceil(limits.maxListBytes / PAYLOAD_MAX_BYTES));
  }

  /** Whether a name or value of the last block has bytes that no field may have. */
  get isMalformed(): boolean {
    return this.#decoder.isMalformed;
  }

  /** The memory of a block that is not whole. */
  get unreadMemoryBytes(): number {
    return this.#parts.buffer.length;
  }

  /** begin is given a HEADERS frame. @returns whether the block is whole */
  begin({ flags, streamId, payload, from, to }: Frame): boolean {
    let at = from;
    let end = to;
    if ((flags & FLAG.PADDED) !== 0) end -= at < to ? payload[at++]! : 1;
    if ((flags & FLAG.PRIORITY) !== 0) at += 5;
    if (at > end) throw protocolError('HEADERS with more padding than payload');
    this.ends = (flags & FLAG.END_STREAM) !== 0;
    this.streamId = streamId;
    this.#continuationCount = 0;
    if ((flags & FLAG.END_HEADERS) === 0) {
      this.#parts.append(payload, at, end);
      return false;
    }
    this.#block = payload;
    this.#from = at;
    this.#to = end;
    return true;
  }

  /** Whether another CONTINUATION is too much. So a block has 144 KiB at most, or a frame more than a list of fields may have. */
  get isFull(): boolean {
    return this.#continuationCount >= this.#continuationsMax;
  }

  /** add is given a CONTINUATION. @returns whether the block is whole */
  add({ flags, payload, from, to }: Frame): boolean {
    this.#continuationCount++;
    this.#parts.append(payload, from, to);
    if ((flags & FLAG.END_HEADERS) === 0) return false;
    this.#block = this.#parts.buffer;
    this.#from = this.#parts.from;
    this.#to = this.#parts.to;
    return true;
  }

  /** decode ends the block. See HpackDecoder.decode. */
  decode(): string[] | null {
    const fields = this.#decoder.decode(this.#block, this.#from, this.#to);
    this.streamId = 0;
    // This object lives as long as the session: let go of the payload.
    this.#block = NO_BYTES;
    if (this.#parts.length > 0) this.#parts.clear();
    return fields;
  }
}
