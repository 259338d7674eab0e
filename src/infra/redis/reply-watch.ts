/**
 * Notices a connection whose replies no longer come through although bytes do: after a reply that announces more than ever
 * follows, the client takes everything behind it for its rest, and no deadline for silence ends that. Replies come in the
 * order of the commands, so one command at a time is enough to look at.
 */

/** Longer than the silence that ends a connection (redis-client.ts), so that this is asked last. */
const UNANSWERED_MS = 2_500;
/** A sample is not taken with every command, only so often. */
const SAMPLE_EVERY_MS = 250;

interface Sample {
  sentAtMs: number;
}

/** ReplyWatch is kept by a RedisConnection. */
export class ReplyWatch {
  readonly #onStuck: (error: Error) => void;
  #sample: Sample | null = null;
  #nextAtMs = 0;

  /** @param onStuck called where a command has had no reply for 2.5 s, and again with each further one while that is so */
  constructor(onStuck: (error: Error) => void) {
    this.#onStuck = onStuck;
  }

  /** follow is told of each command that was sent and whose failure somebody else handles. */
  follow(reply: Promise<unknown>): void {
    const nowMs = performance.now();
    const sample = this.#sample;
    if (sample === null) {
      if (nowMs >= this.#nextAtMs) this.#begin(reply, nowMs);
      return;
    }
    if (nowMs - sample.sentAtMs < UNANSWERED_MS) return;
    // Not before the socket was read once more: it may be this process that stood still.
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
