/**
 * Detects a connection that receives bytes but never completes a reply: after a reply that announces more bytes than follow,
 * the client takes everything behind it for the rest, and no deadline for silence ends that. Replies come in the order of
 * the commands, so watching one command at a time is enough.
 */

/** Longer than the silence that ends a connection (redis-client.ts), so that this acts last. */
const UNANSWERED_MS = 2_500;
/** Not every command is watched, only one in this time. */
const SAMPLE_EVERY_MS = 250;

interface Sample {
  sentAtMs: number;
}

/** ReplyWatch is kept for each connection to a server. */
export class ReplyWatch {
  readonly #onStuck: (error: Error) => void;
  #sample: Sample | null = null;
  #nextAtMs = 0;

  /** @param onStuck called when a command has had no reply for 2.5 s and another one is sent */
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
    if (nowMs - sample.sentAtMs < UNANSWERED_MS) return;
    // Only after the socket was read once more: this process may have stood still.
    setImmediate(() => {
      if (this.#sample === sample) this.#stuck(nowMs - sample.sentAtMs);
    });
  }

  #begin(reply: Promise<unknown>, nowMs: number): void {
    const sample = { sentAtMs: nowMs };
    this.#sample = sample;
    this.#nextAtMs = nowMs + SAMPLE_EVERY_MS;
    const answered = (): void => {
      if (this.#sample === sample) this.#sample = null;
    };
    reply.then(answered, answered);
  }

  #stuck(silentMs: number): void {
    this.#sample = null;
    this.#onStuck(new Error(`a command has had no reply for ${Math.round(silentMs)} ms`));
  }
}
