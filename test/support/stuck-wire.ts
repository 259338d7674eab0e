import { MemoryWire } from './memory-wire.ts';

/** StuckWire accepts nothing while it is `stuck`. It reads the memory of a piece only when the piece is written. */
export class StuckWire extends MemoryWire {
  stuck = false;
  #waiting: (() => void)[] = [];

  override get blocked(): boolean {
    return this.#waiting.length > 0;
  }

  override write(take: () => void): boolean {
    if (this.stuck) this.#waiting.push(take);
    else take();
    return !this.stuck;
  }

  drain(): void {
    this.stuck = false;
    for (const take of this.#waiting.splice(0)) take();
    this.onDrain?.();
  }
}
