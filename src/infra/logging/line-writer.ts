/** Writes the lines of a log: in batches, with bounded memory, and without ever blocking the event loop. */
import { write, writeSync } from 'node:fs';
import { systemCodeOf } from '../../contract/errors.ts';
import { LineBatch } from './line-batch.ts';
import { ATOMIC_WRITE_BYTES, type LineSink, openLineSink, openStdoutSink, UTF8_BYTES } from './line-sink.ts';

/**
 * bufferBytes: memory for lines that nobody reads; further lines are dropped and counted. prompt: whether a line is written at once,
 * or waits for others.
 */
export const ACCESS_LINES = { bufferBytes: 4 * 1024 * 1024, prompt: false };
export const APPLICATION_LINES = { bufferBytes: 1024 * 1024, prompt: true };

/** A line waits until its batch is full, or for this long. */
const FLUSH_EVERY_MS = 200;
/** Pauses before an output that is full is tried again: doubled from the first to the last. */
const FIRST_RETRY_MS = 1;
const LAST_RETRY_MS = 64;
/** How long the last lines of a process wait while the output is full. A process has two writers, and a worker 2 s to exit. */
const LAST_WAIT_MS = 500;
const LAST_PAUSE_MS = 10;
/** The output is full for now. */
const TRANSIENT: ReadonlySet<string | null> = new Set(['EAGAIN', 'EBUSY', 'ENOSPC', 'EDQUOT']);

/**
 * LineWriter writes one log to standard output or a file. The application lines of a process and the access lines of a worker have a
 * writer each, so that a flood of one kind cannot push out the other. An access line costs 1 to 2 µs; with pino's own
 * destination, which writes every 4 KiB in the thread pool, it cost 7. The filling batch joins the queue when it is full, or after
 * FLUSH_EVERY_MS. One batch is written at a time, the oldest first.
 */
export class LineWriter {
  /** Called with the number of dropped lines once all others are written. */
  onDropsOver: ((lines: number) => void) | null = null;
  /** What each line becomes before it is written; null: it stays as it is. */
  shape: ((line: string) => string) | null = null;
  #sink: LineSink;
  /** Sinks of before in which a write may still be under way. */
  readonly #left: LineSink[] = [];
  readonly #traits: typeof ACCESS_LINES;
  /** Batches to be written, the oldest first. */
  readonly #queue: LineBatch[] = [];
  #queueLimit: number;
  #filling: LineBatch;
  #spare: LineBatch | null = null;
  /** From the start of a write until the queue is empty, pauses between tries included. */
  #busy = false;
  /** What the write under way takes from the oldest batch. */
  #inFlightBytes = 0;
  #flushTimer: NodeJS.Timeout | null = null;
  #retryMs = FIRST_RETRY_MS;
  #dropped = 0;
  /** How many dropped lines onDropsOver has been told of. */
  #toldDropped = 0;

  /** @param fd an open descriptor, which stays open; default: standard output */
  constructor(traits: typeof ACCESS_LINES, fd: number | null = null) {
    this.#traits = traits;
    this.#sink = fd === null ? openStdoutSink() : openLineSink(fd);
    this.#queueLimit = this.#maxQueued();
    this.#filling = new LineBatch(this.#sink.batchBytes);
  }

  /** redirect sends to another sink what comes from now on, and what waits but for a write that is under way. */
  redirect(sink: LineSink): void {
    this.#left.push(this.#sink);
    this.#sink = sink;
    this.#queueLimit = this.#maxQueued();
    this.#spare = null;
    if (this.#inFlightBytes === 0) this.#closeLeft();
  }

  #closeLeft(): void {
    for (const { close } of this.#left.splice(0)) close?.();
  }

  #maxQueued(): number {
    return Math.floor(this.#traits.bufferBytes / this.#sink.batchBytes) - 1;
  }

  /** write takes one line with its newline. It drops a line that is longer than ATOMIC_WRITE_BYTES. */
  write(given: string): void {
    const line = this.shape === null ? given : this.shape(given);
    const isTooLong =
      line.length * UTF8_BYTES > ATOMIC_WRITE_BYTES && Buffer.byteLength(line) > ATOMIC_WRITE_BYTES;
    if (isTooLong || (this.#filling.isFull && !this.#ship())) {
      this.#dropped++;
      return;
    }
    this.#filling.add(line);
    if (this.#filling.isFull || (this.#traits.prompt && !this.#busy)) this.#ship();
    else if (this.#flushTimer === null) this.#flushSoon();
  }

  /** Lines that were lost: nobody read them, the disk was full, or they were too long. */
  get droppedCount(): number {
    return this.#dropped;
  }

  /** flushSync is for the end of a process: it writes what is left, and waits LAST_WAIT_MS at most while the output is full. */
  flushSync(): void {
    this.#queue[0]?.advance(this.#inFlightBytes);
    this.#inFlightBytes = 0;
    const deadlineMs = performance.now() + LAST_WAIT_MS;
    for (const batch of [...this.#queue.splice(0), this.#filling]) {
      while (!batch.isEmpty) {
        const failure = this.#writeSync(batch);
        if (failure === null) continue;
        const isHopeless = !TRANSIENT.has(systemCodeOf(failure)) || performance.now() >= deadlineMs;
        if (isHopeless) this.#dropped += batch.clear();
        else Atomics.wait(NEVER_WOKEN, 0, 0, LAST_PAUSE_MS);
      }
    }
  }

  #flushSoon(): void {
    this.#flushTimer = setTimeout(() => {
      this.#flushTimer = null;
      // While other batches wait, this one goes on filling, so that memory for a stalled reader holds full batches.
      if (this.#queue.length > 0) this.#flushSoon();
      else this.#ship();
    }, FLUSH_EVERY_MS).unref();
  }

  /** Queues the filling batch. @returns false when there is no room for another batch */
  #ship(): boolean {
    const hasRoom = this.#queue.length < this.#queueLimit;
    if (hasRoom && !this.#filling.isEmpty) {
      this.#queue.push(this.#filling);
      this.#filling = this.#spare ?? new LineBatch(this.#sink.batchBytes);
      this.#spare = null;
    }
    this.#pump();
    return hasRoom;
  }

  #pump(): void {
    const [batch] = this.#queue;
    if (batch === undefined || this.#busy) return;
    this.#busy = true;
    if (this.#sink.unblock === null) {
      this.#writeInPool(batch);
      return;
    }
    let failure: unknown = null;
    while (failure === null && !batch.isEmpty) failure = this.#writeSync(batch);
    this.#settle(batch, failure);
  }

  #writeInPool(batch: LineBatch): void {
    const { fd, writeBytes } = this.#sink;
    this.#inFlightBytes = batch.nextBytes(writeBytes);
    write(fd, batch.buffer, batch.start, this.#inFlightBytes, null, (failure, bytes) => {
      this.#inFlightBytes = 0;
      this.#closeLeft();
      if (batch !== this.#queue[0]) {
        // A flushSync has written the rest meanwhile.
        this.#resume();
        return;
      }
      if (failure === null) this.#advance(batch, bytes);
      this.#settle(batch, failure);
    });
  }

  /** @returns what went wrong, or null */
  #writeSync(batch: LineBatch): unknown {
    const { fd, writeBytes, unblock } = this.#sink;
    try {
      unblock?.();
      this.#advance(batch, writeSync(fd, batch.buffer, batch.start, batch.nextBytes(writeBytes), null));
      return null;
    } catch (thrown) {
      return thrown;
    }
  }

  #advance(batch: LineBatch, bytes: number): void {
    batch.advance(bytes);
    this.#retryMs = FIRST_RETRY_MS;
  }

  /** Ends a turn of writing: at most one batch, so that other events come between. */
  #settle(batch: LineBatch, failure: unknown): void {
    if (failure !== null && TRANSIENT.has(systemCodeOf(failure))) {
      setTimeout(() => this.#resume(), this.#retryMs).unref();
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
      return;
    }
    if (failure !== null) this.#dropped += batch.clear();
    if (batch.isEmpty) {
      this.#queue.shift();
      this.#spare = batch;
      if (this.#filling.isFull) this.#ship();
    }
    if (this.#queue.length > 0) setImmediate(() => this.#resume());
    else {
      this.#busy = false;
      if (failure === null) this.#tellDropped();
    }
  }

  #tellDropped(): void {
    const lines = this.#dropped - this.#toldDropped;
    this.#toldDropped = this.#dropped;
    if (lines > 0) this.onDropsOver?.(lines);
  }

  #resume(): void {
    this.#busy = false;
    this.#pump();
  }
}

const NEVER_WOKEN = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
