/** An owner that records the calls of its wire. */
import type { Wire } from '../../../src/contract/wire.ts';
import type { ConnectEvents } from '../../../src/infra/wire/wire-maker.ts';

type Told = 'connect' | 'end' | 'drain' | 'write error' | 'broken';

/** RecordingOwner copies what it reads. It gives out buffers of the given sizes in turn, never the same one twice in a row. */
export class RecordingOwner implements ConnectEvents {
  /** Set by pair() before the first use. */
  wire!: Wire;
  readonly told: Told[] = [];
  readonly errors: Error[] = [];
  readCount = 0;
  /** Calls by the wire after close() or reset(), or from inside a call by the owner. */
  readonly wrongCalls: string[] = [];
  /** Run at the end of a call by the wire; `open`: when the wire has opened, in the same turn. */
  readonly hooks: Partial<Record<Told | 'read' | 'open', () => void>> = {};
  readonly #pieces: Buffer[] = [];
  readonly #memory: Buffer[];
  #turn = 0;
  #gone = false;
  #calling = false;

  constructor(sizes: readonly number[] = [16_384]) {
    this.#memory = [...sizes, ...sizes].map((size) => Buffer.alloc(size));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  count(what: Told): number {
    return this.told.filter((told) => told === what).length;
  }

  /** call calls the wire, which must not call back meanwhile. */
  call<T>(act: (wire: Wire) => T): T {
    this.#calling = true;
    try {
      return act(this.wire);
    } finally {
      this.#calling = false;
    }
  }

  /** leave closes or resets the wire: from now on it must make no call. */
  leave(how: 'close' | 'reset' = 'close'): void {
    this.#gone = true;
    this.call((wire) => wire[how]());
  }

  nextBuffer(): Buffer {
    this.#check('nextBuffer');
    this.#turn = (this.#turn + 1) % this.#memory.length;
    return this.#current();
  }

  onRead(byteCount: number): void {
    this.#check('onRead');
    this.readCount++;
    const memory = this.#current();
    this.#pieces.push(Buffer.from(memory.subarray(0, byteCount)));
    memory.fill('#');
    this.hooks.read?.();
  }

  onConnect(): void {
    this.#note('connect');
  }

  onEnd(): void {
    this.#note('end');
  }

  onDrain(): void {
    this.#note('drain');
  }

  onWriteError(error: Error): void {
    this.errors.push(error);
    this.#note('write error');
  }

  onBroken(error: Error): void {
    this.errors.push(error);
    this.#note('broken');
  }

  #current(): Buffer {
    return this.#memory[this.#turn]!;
  }

  #note(what: Told): void {
    this.#check(what);
    this.told.push(what);
    this.hooks[what]?.();
  }

  #check(what: string): void {
    if (this.#gone) this.wrongCalls.push(`${what} after the close`);
    // connect and accept ask for the memory of the first read from inside.
    else if (this.#calling) this.wrongCalls.push(`${what} from within a call`);
  }
}
