/**
 * Reads of a handle wire over TLS. One read of the network may bring several TLS records, and node reads them all, also after a
 * pause or a close by the first. The later ones go to OVERFLOW: nobody may write into memory of the owner then.
 */
import type { WireEvents } from '../../contract/wire.ts';

export const OVERFLOW = Buffer.allocUnsafeSlow(16_384);

/** SecureReader is the wire. */
interface SecureReader {
  readonly closed: boolean;
  readonly paused: boolean;
  readonly events: WireEvents;
  /** peerEnded is called when nothing more comes. @param code of node */
  peerEnded(code: number): void;
  /** applyPaused is called when nothing waits any more, and the handle may be read again. */
  applyPaused(): void;
}

/** SecureReads is made by a wire when it takes over the handle of an open TLS socket. */
export class SecureReads {
  readonly #wire: SecureReader;
  /** The handle reads into this; null: into the memory of the first read. */
  #buffer: Buffer | null = null;
  /** What came after the owner had paused. */
  readonly #rest: Buffer[] = [];
  /** The end (a code of node) that came after the rest; 0: none waits. */
  #waitingEnd = 0;

  constructor(wire: SecureReader) {
    this.#wire = wire;
  }

  /** waiting tells whether goOn must be called before the handle is read again. */
  get waiting(): boolean {
    return this.#rest.length > 0 || this.#waitingEnd !== 0;
  }

  /** read is called by the handle. @returns the memory for the next read, where it is not the same */
  read(countOrError: number): Buffer | undefined {
    if (countOrError === 0) return undefined;
    const wire = this.#wire;
    if (wire.closed) return OVERFLOW;
    if (countOrError < 0) {
      if (this.#mustWait) this.#waitingEnd = countOrError;
      else wire.peerEnded(countOrError);
      return undefined;
    }
    if (this.#buffer !== OVERFLOW) wire.events.onRead(countOrError);
    else {
      this.#rest.push(Buffer.from(OVERFLOW.subarray(0, countOrError)));
      this.#giveRest();
    }
    const next = wire.closed || this.#mustWait ? OVERFLOW : wire.events.nextBuffer();
    if (next === this.#buffer) return undefined;
    this.#buffer = next;
    return next;
  }

  /** goOn gives out what waits when the owner reads again. */
  goOn(): void {
    this.#giveRest();
    const wire = this.#wire;
    if (wire.closed || this.#mustWait) return;
    const code = this.#waitingEnd;
    this.#waitingEnd = 0;
    if (code === 0) wire.applyPaused();
    else wire.peerEnded(code);
  }

  /** drop is called when the wire is closed. */
  drop(): void {
    this.#rest.length = 0;
  }

  get #mustWait(): boolean {
    return this.#wire.paused || this.#rest.length > 0;
  }

  #giveRest(): void {
    const wire = this.#wire;
    for (let piece = this.#rest[0]; piece !== undefined && !wire.paused; piece = this.#rest[0]) {
      const count = piece.copy(wire.events.nextBuffer());
      if (count === piece.length) this.#rest.shift();
      else this.#rest[0] = piece.subarray(count);
      wire.events.onRead(count);
    }
  }
}
