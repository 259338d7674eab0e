/** The lowest rate of a request body (`limits.bodyMinRate`): one that keeps coming byte by byte holds a connection to a backend for hours. */
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';

/** The rate is measured over windows of this length, so that a body that begins slowly has the first one to catch up. */
const WINDOW_MS = 5_000;
const MS_PER_SEC = 1_000;

interface PacedBody {
  readonly receivedBytes: number;
  onSlow(): void;
}

/** BodyPace is made for a body that is awaited, where a rate is set. */
export class BodyPace {
  readonly #timer: DeadlineTimer;
  readonly #windowBytes: number;
  readonly #body: PacedBody;
  readonly #due = new Deadline(() => this.#look());
  #fromBytes = 0;

  /** @param minRate bytes per second, above 0 */
  constructor(body: PacedBody, minRate: number, timer: DeadlineTimer) {
    this.#body = body;
    this.#windowBytes = (minRate * WINDOW_MS) / MS_PER_SEC;
    this.#timer = timer;
  }

  /** run is called whenever bytes are awaited of the client. It begins a window, unless one is under way. */
  run(): void {
    if (!this.#due.armed) this.#begin();
  }

  /** rest is called while Sluice itself stops the client, because the backend is late. The next run begins a new window. */
  rest(): void {
    this.#timer.disarm(this.#due);
  }

  close(): void {
    this.#timer.remove(this.#due);
  }

  #begin(): void {
    this.#fromBytes = this.#body.receivedBytes;
    this.#timer.arm(this.#due, WINDOW_MS);
  }

  #look(): void {
    if (this.#body.receivedBytes - this.#fromBytes < this.#windowBytes) this.#body.onSlow();
    else this.#begin();
  }
}
