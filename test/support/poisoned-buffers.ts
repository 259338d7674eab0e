/** Memory for bodies that shows who reads what is no longer theirs. */
import { BodyBuffers } from '../../src/http1/body-buffers.ts';

/** Fills memory that was given back. */
export const POISON = 0x21;

/** PoisonedBuffers overwrites each buffer when it is given back, and the shared one after each read. */
export class PoisonedBuffers extends BodyBuffers {
  override give(buffer: Buffer<ArrayBuffer>): void {
    buffer.fill(POISON);
    super.give(buffer);
  }

  override afterRead(): void {
    this.shared.fill(POISON);
  }
}
