/**
 * Two wires in memory, one the other's peer. What one writes, the other reads in later turns of the event loop. Between them is a buffer
 * as the kernel has one: a wire is blocked while it is full, and its memory is read only when there is room. What was read is
 * overwritten after each read.
 */
import type { Wire } from '../../src/contract/wire.ts';
import type { ConnectEvents } from '../../src/infra/wire/wire-maker.ts';
import { POISON } from './poisoned-buffers.ts';

export class PairedWire implements Wire {
  /** Of the buffer between it and its peer. */
  capacityBytes = 1 << 20;
  /** What arrives waits. */
  isDeaf = false;
  /** The most bytes of the next read. */
  cut: () => number = () => Number.POSITIVE_INFINITY;
  takenBytes = 0;
  writeFailed = false;
  closed = false;
  finSent = false;
  readonly events: ConnectEvents;
  peer: PairedWire = this;
  /** In the buffer between; `null` is a FIN. */
  readonly #sent: (Buffer | null)[] = [];
  #sentBytes = 0;
  /** For which there is no room. */
  readonly #waiting: (Buffer | null)[] = [];
  #heardEnd = false;
  #isScheduled = false;

  constructor(events: ConnectEvents) {
    this.events = events;
  }

  get blocked(): boolean {
    return this.#waiting.length > 0;
  }

  get readable(): boolean {
    return !this.closed && !this.#heardEnd;
  }

  writeText(text: string): boolean {
    return this.writeChunk(text, Buffer.alloc(0), '');
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    if (this.closed || this.finSent) return true;
    // A copy of the chunk would hide that its memory was used for something else meanwhile.
    const isPlain = before === '' && after === '';
    const bytes = isPlain
      ? chunk
      : Buffer.concat([Buffer.from(before, 'latin1'), chunk, Buffer.from(after, 'latin1')]);
    this.#waiting.push(bytes);
    this.#take();
    return !this.blocked;
  }

  end(): void {
    if (this.finSent || this.closed) return;
    this.finSent = true;
    this.#waiting.push(null);
    this.#take();
  }

  close(): void {
    if (this.closed) return;
    this.#waiting.length = 0;
    this.finSent = this.closed = true;
    this.#sent.push(null);
    this.#schedule();
  }

  reset(): void {
    this.close();
  }

  /** deliver gives the peer one read. @returns false: there is nothing for it */
  deliver(): boolean {
    const { peer } = this;
    if (this.#sent.length === 0 || peer.closed || peer.isDeaf) return false;
    if (this.#sent[0] === null) this.#deliverEnd();
    else {
      const memory = peer.events.nextBuffer();
      const count = this.#fill(memory.subarray(0, Math.max(1, Math.min(memory.length, peer.cut()))));
      peer.events.onRead(count);
      memory.fill(POISON, 0, count);
    }
    const wasBlocked = this.blocked;
    this.#take();
    if (wasBlocked && !this.blocked && !this.closed) this.events.onDrain();
    return true;
  }

  /** hear goes on reading after isDeaf. */
  hear(): void {
    this.isDeaf = false;
    this.peer.#schedule();
  }

  /** @returns the number of bytes */
  #fill(memory: Buffer): number {
    let at = 0;
    for (let next = this.#sent[0]; next && at < memory.length; next = this.#sent[0]) {
      const count = next.copy(memory, at);
      at += count;
      if (count === next.length) this.#sent.shift();
      else this.#sent[0] = next.subarray(count);
    }
    this.#sentBytes -= at;
    return at;
  }

  #deliverEnd(): void {
    this.#sent.shift();
    this.peer.#heardEnd = true;
    this.peer.events.onEnd();
  }

  /** Takes what there is room for. */
  #take(): void {
    while (this.#waiting.length > 0 && this.#sentBytes < this.capacityBytes) {
      const next = this.#waiting.shift() as Buffer | null;
      const room = this.capacityBytes - this.#sentBytes;
      if (next === null) this.#sent.push(null);
      else if (next.length > 0) {
        const part = Buffer.from(next.subarray(0, room));
        this.#sent.push(part);
        this.#sentBytes += part.length;
        this.takenBytes += part.length;
        if (part.length < next.length) this.#waiting.unshift(next.subarray(part.length));
      }
    }
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#sent.length === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.deliver()) this.#schedule();
    });
  }

  handTo(): void {
    throw new Error('a wire of a pair has one owner');
  }

  probe(): void {
    // Nothing breaks here unnoticed.
  }

  pause(): void {
    this.isDeaf = true;
  }

  resume(): void {
    this.hear();
  }
}

/** join makes two wires each other's peer. The first is the one that has connected. */
export function join(client: PairedWire, server: PairedWire): void {
  client.peer = server;
  server.peer = client;
  client.events.onConnect();
}
