/** What the requests of this worker show of a backend, and what follows from it at once. The states of a trial: src/balance/backend.ts. */
import type { Backend } from '../balance/backend.ts';
import type { ErrorCode, LbError } from '../contract/errors.ts';
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';

/** From a failed trial to the next. */
const TRIAL_PAUSE_MS = 1_000;
const FIRST_FAILURE_STATUS = 500;
/** Failures of the backend, and not of the client or of this machine. */
const BACKEND_FAILURES: ReadonlySet<ErrorCode> = new Set([
  'connect_failed',
  'upstream_reset',
  'upstream_invalid',
  'upstream_timeout',
]);

/** LiveResults is told by the attempts at one backend; one per backend and plan. */
export class LiveResults {
  readonly #backend: Backend;
  readonly #timer: DeadlineTimer;
  readonly #pauseEnd = new Deadline(() => this.#endPause());

  constructor(backend: Backend, timer: DeadlineTimer) {
    this.#backend = backend;
    this.#timer = timer;
  }

  /** begun: an attempt has been given to the backend. */
  begun(): void {
    if (this.#backend.trial === 'free') this.#backend.trial = 'taken';
  }

  /** answered: the head of an answer has come. */
  answered(status: number): void {
    if (status >= FIRST_FAILURE_STATUS) this.#failed();
    else if (this.#backend.trial === 'taken') this.#backend.trial = 'passed';
  }

  /** failed: an attempt has ended with an error, before the head or behind it. A lost connection that was reused does not count (B10). */
  failed({ code, retryable }: LbError): void {
    const isLostIdle = code === 'upstream_reset' && retryable;
    if (BACKEND_FAILURES.has(code) && !isLostIdle) this.#failed();
    else this.undecided();
  }

  /** undecided: an attempt has ended, and nobody knows what would have become of it. */
  undecided(): void {
    if (this.#backend.trial === 'taken' && !this.#pauseEnd.armed) this.#backend.trial = 'free';
  }

  #failed(): void {
    if (this.#backend.trial === 'none') return;
    this.#backend.trial = 'taken';
    this.#timer.arm(this.#pauseEnd, TRIAL_PAUSE_MS);
  }

  #endPause(): void {
    if (this.#backend.trial === 'taken') this.#backend.trial = 'free';
  }
}
