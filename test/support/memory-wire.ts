/** A wire in memory that records what is written. */
import type { Wire } from '../../src/contract/wire.ts';

export class MemoryWire implements Wire {
  /** All bytes written, as latin1. */
  text = '';
  writeCount = 0;
  closed = false;
  ended = false;
  paused = false;
  writeFailed = false;
  takenBytes = 0;
  onDrain: (() => void) | null = null;

  get blocked(): boolean {
    return false;
  }

  get readable(): boolean {
    return !this.closed;
  }

  /** write gets each piece. `take` reads the piece, now or later. The result is returned to the writer. */
  write(take: () => void): boolean {
    take();
    return true;
  }

  writeText(text: string): boolean {
    this.writeCount++;
    return this.write(() => {
      this.text += text;
    });
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    this.writeCount++;
    return this.write(() => {
      this.text += before + chunk.toString('latin1') + after;
    });
  }

  handTo(): void {
    throw new Error('a wire in memory has one owner');
  }

  probe(): void {
    this.writeCount += 0;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.ended = true;
  }

  close(): void {
    this.closed = true;
  }

  reset(): void {
    this.close();
  }
}
