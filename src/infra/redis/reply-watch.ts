/**
 * Finds a connection on which commands get no replies: the server is gone, or a reply announced more bytes than it has, so that
 * all later replies are taken for its rest. Replies come in the order of the commands, so it is enough to watch one command.
 *
 * A stall of this process is not silence of the server: the command may not have been sent, or its reply not been read. So an
 * overdue reply gets a second chance, which ends only after the event loop has polled the socket.
 */

/** A reply that takes longer is overdue. */
const OVERDUE_MS = 1_000;
const SECOND_CHANCE_MS = 500;
/** At most one command is watched in this time. */
const SAMPLE_EVERY_MS = 250;

/** ReplyWatch belongs to one connection to a server. */
export class ReplyWatch {
  readonly #onStuck: (error: Error) => void;
  #watching = false;
  #nextAtMs = 0;

  /** @param onStuck called when a watched command has had no reply for 1.5 s */
  constructor(onStuck: (error: Error) => void) {
    this.#onStuck = onStuck;
  }

  /** watch is called with the reply of each command; the sender handles its failure. */
  watch(reply: Promise<unknown>): void {
    const sentAtMs = performance.now();
    if (this.#watching || sentAtMs < this.#nextAtMs) return;
    this.#watching = true;
    this.#nextAtMs = sentAtMs + SAMPLE_EVERY_MS;
    let isAnswered = false;
    const giveUp = (): void => {
      if (isAnswered) return;
      const silentMs = Math.round(performance.now() - sentAtMs);
      this.#onStuck(new Error(`a command has had no reply for ${silentMs} ms`));
    };
    let timer = setTimeout(() => {
      timer = setTimeout(() => setImmediate(giveUp), SECOND_CHANCE_MS).unref();
    }, OVERDUE_MS).unref();
    const answered = (): void => {
      isAnswered = true;
      clearTimeout(timer);
      this.#watching = false;
    };
    reply.then(answered, answered);
  }
}
