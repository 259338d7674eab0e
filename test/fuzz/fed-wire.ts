/** What a fed connection runs on: a wire, buffers that reveal late reads, and turns in random order. */
import { MemoryWire } from '../support/memory-wire.ts';
import { POISON, PoisonedBuffers } from '../support/poisoned-buffers.ts';
import type { Random } from './random.ts';

/** Turns runs tasks between reads, in random order. */
export class Turns {
  readonly #random: Random;
  readonly #waiting: (() => void)[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  later(task: () => void): void {
    this.#waiting.push(task);
  }

  /** turn runs one waiting task; false: none is waiting. */
  turn(): boolean {
    const [task] = this.#waiting.splice(this.#random.below(this.#waiting.length), 1);
    task?.();
    return task !== undefined;
  }
}

/** FedWire accepts a write at once, or in a later turn. */
export class FedWire extends MemoryWire {
  /** The client has sent its FIN. */
  finished = false;
  readonly #random: Random;
  readonly #turns: Turns;
  #untaken: (() => void)[] = [];

  constructor(random: Random, turns: Turns) {
    super();
    this.#random = random;
    this.#turns = turns;
  }

  override get blocked(): boolean {
    return this.#untaken.length > 0;
  }

  override get readable(): boolean {
    return !this.closed && !this.finished;
  }

  override write(take: () => void): boolean {
    if (!this.blocked && !this.#random.oneIn(5)) {
      take();
      return true;
    }
    this.#untaken.push(take);
    if (this.#untaken.length === 1) this.#turns.later(() => this.#drain());
    return false;
  }

  #drain(): void {
    if (this.closed) return;
    for (const take of this.#untaken.splice(0)) take();
    this.onDrain?.();
  }
}

/** FedBuffers overwrites the bytes of a read after the read, but not the whole buffer, which would be slow. */
export class FedBuffers extends PoisonedBuffers {
  #readBytes = this.shared.length;
  readonly #free = new Set<Buffer>();

  constructor() {
    super();
    this.afterRead();
  }

  /** fill copies the bytes of a read into the connection's memory. */
  fill(memory: Buffer, source: Buffer, from: number, to: number): number {
    if (this.#free.has(memory)) throw new Error('a read into memory that was given back');
    const count = Math.min(memory.length, to - from);
    if (count === 1) memory[0] = source[from]!;
    else source.copy(memory, 0, from, from + count);
    if (memory === this.shared) this.#readBytes = count;
    return count;
  }

  override take(): Buffer<ArrayBuffer> {
    const taken = super.take();
    this.#free.delete(taken);
    return taken;
  }

  override takeLarge(): Buffer<ArrayBuffer> | null {
    const taken = super.takeLarge();
    if (taken !== null) this.#free.delete(taken);
    return taken;
  }

  override give(buffer: Buffer<ArrayBuffer>): void {
    super.give(buffer);
    if (buffer.length > 0) this.#free.add(buffer);
  }

  override afterRead(): void {
    if (this.#readBytes === 1) this.shared[0] = POISON;
    else this.shared.fill(POISON, 0, this.#readBytes);
    this.#readBytes = 0;
  }
}
