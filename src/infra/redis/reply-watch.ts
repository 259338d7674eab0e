/**
 * Finds a connection on which commands get no replies: the server is gone, or one reply announced more bytes than ever come and
 * everything behind it is taken for the rest. Replies come in the order of the commands, so one watched command is enough.
 *
 * A stall of this process is no silence of the server: the command may not have left, or its reply may wait to be read. So an
 * overdue reply gets a second chance, which ends only after the event loop has polled the socket.
 */

/** A reply that takes longer is overdue, and found so when the next command is sent. */
const OVERDUE_MS = 1_000;
const SECOND_CHANCE_MS = 500;
/** One command in this time is watched. */
const SAMPLE_EVERY_MS = 250;

interface Sample {
  readonly sentAtMs: number;
  overdue: boolean;
}

/** ReplyWatch is kept for each connection to a server. */
export class ReplyWatch {
  readonly #onStuck: (error: Error) => void;
  #sample: Sample | null = null;
  #nextAtMs = 0;

  /** @param onStuck called when a watched command has had no reply for 1.5 s or more */
  constructor(onStuck: (error: Error) => void) {
    this.#onStuck = onStuck;
  }

  /** watch is told of each command that was sent; the sender handles its failure. */
  watch(reply: Promise<unknown>): void {
    const nowMs = performance.now();
    const sample = this.#sample;
    if (sample === null) {
      if (nowMs >= this.#nextAtMs) this.#begin(reply, nowMs);
      return;
    }
    if (sample.overdue || nowMs - sample.sentAtMs < OVERDUE_MS) return;
    sample.overdue = true;
    setTimeout(() => setImmediate(() => this.#end(sample)), SECOND_CHANCE_MS).unref();
  }

  #begin(reply: Promise<unknown>, nowMs: number): void {
    const sample = { sentAtMs: nowMs, overdue: false };
    this.#sample = sample;
    this.#nextAtMs = nowMs + SAMPLE_EVERY_MS;
    const answered = (): void => {
      if (this.#sample === sample) this.#sample = null;
    };
    reply.then(answered, answered);
  }

  #end(sample: Sample): void {
    if (this.#sample !== sample) return;
    this.#sample = null;
    const silentMs = Math.round(performance.now() - sample.sentAtMs);
    this.#onStuck(new Error(`a command has had no reply for ${silentMs} ms`));
  }
}
