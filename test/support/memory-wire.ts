/** A wire without a kernel: what is written is kept as text. */
import type { Wire } from '../../src/infra/wire/wire.ts';

export class MemoryWire implements Wire {
  /** Everything that was taken, latin1. */
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

  /** write is asked for each piece; `take` reads it, now or later. Returns what the wire's writer is told. */
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
