/** Memory for bodies that shows who reads what is no longer theirs. */
import { BodyBuffers } from '../../src/memory/body-buffers.ts';
import type { BufferPool } from '../../src/memory/buffer-pool.ts';

/** Fills memory that was given back. */
export const POISON = 0x21;

/** poison makes a pool overwrite each buffer that is given back to it. */
export function poison(pool: BufferPool): void {
  const give = pool.give.bind(pool);
  pool.give = (buffer) => give(buffer.fill(POISON));
}

/** PoisonedBuffers overwrites each buffer when it is given back, and the shared one after each read. */
export class PoisonedBuffers extends BodyBuffers {
  constructor() {
    super();
    poison(this);
  }

  override afterRead(): void {
    this.shared.fill(POISON);
  }
}
