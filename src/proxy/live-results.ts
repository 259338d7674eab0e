/**
 * What the requests of this worker show of a backend, and what follows from it at once.
 *
 * A backend that is up is in doubt once `outlier.consecutiveErrors` requests in a row have failed: it is used only where nothing else
 * is left, until the primary has decided for the machine (src/primary/health/ejections.ts), a second at most.
 * The states of a trial, of a backend that is out: src/balance/backend.ts.
 */
import type { Backend } from '../balance/backend.ts';
import type { ErrorCode, LbError } from '../contract/errors.ts';
import { DOUBT_MS } from '../contract/health.ts';
import type { OutlierSettings } from '../contract/pool-settings.ts';
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';

/** From a failed trial to the next. */
const TRIAL_PAUSE_MS = 1_000;
/** In this time the primary is told of at most `consecutiveErrors` errors of a backend, and besides of the one that makes it doubted. */
const TELLING_MS = 1_000;
/** Answers from this status on are errors of the backend. */
export const FIRST_ERROR_STATUS = 500;
/** Failures of the backend, and not of the client or of this machine. */
const BACKEND_FAILURES: ReadonlySet<ErrorCode> = new Set([
  'connect_failed',
  'upstream_reset',
  'upstream_invalid',
  'upstream_timeout',
]);

/** TellError tells the primary of an error. @param streak how many in a row this worker has seen */
type TellError = (streak: number, detail: string) => void;

/** LiveResults is told by the attempts at one backend, and made with its connections. */
export class LiveResults {
  /** null: nothing is counted. Set by each plan. */
  outlier: OutlierSettings | null = null;
  readonly #backend: Backend;
  readonly #timer: DeadlineTimer;
  readonly #tell: TellError;
  readonly #pauseEnd = new Deadline(() => this.#endPause());
  #tellingSinceMs = Number.NEGATIVE_INFINITY;
  #toldCount = 0;

  constructor(backend: Backend, timer: DeadlineTimer, tell: TellError) {
    this.#backend = backend;
    this.#timer = timer;
    this.#tell = tell;
  }

  /** begun: an attempt has been given to the backend. */
  begun(): void {
    if (this.#backend.trial === 'free') this.#backend.trial = 'taken';
  }

  /** answered: the head of an answer has come. @param atMs now, on the monotonic clock */
  answered(status: number, atMs: number): void {
    const backend = this.#backend;
    if (status >= FIRST_ERROR_STATUS) {
      this.#failed(`status ${status}`);
      return;
    }
    if (backend.trial === 'taken') backend.trial = 'passed';
    backend.lastOkMs = atMs;
    if (backend.errorsMs.length > 0) backend.errorsMs.length = 0;
  }

  /** failed: an attempt has ended with an error, before the head or behind it. A lost connection that was reused does not count (B10). */
  failed({ code, retryable, message }: LbError): void {
    const isLostIdle = code === 'upstream_reset' && retryable;
    if (BACKEND_FAILURES.has(code) && !isLostIdle) this.#failed(message);
    else this.undecided();
  }

  /** undecided: an attempt has ended, and nobody knows what would have become of it. */
  undecided(): void {
    if (this.#backend.trial === 'taken' && !this.#pauseEnd.armed) this.#backend.trial = 'free';
  }

  #failed(detail: string): void {
    const backend = this.#backend;
    if (backend.trial !== 'none') {
      backend.trial = 'taken';
      this.#timer.arm(this.#pauseEnd, TRIAL_PAUSE_MS);
    } else if (this.outlier !== null && backend.standing === 'up') this.#count(this.outlier, detail);
  }

  #count({ consecutiveErrors }: OutlierSettings, detail: string): void {
    const backend = this.#backend;
    const { errorsMs } = backend;
    const nowMs = this.#timer.monotonicMs();
    while (errorsMs.length >= consecutiveErrors) errorsMs.shift();
    errorsMs.push(nowMs);
    const begins = errorsMs.length >= consecutiveErrors && !backend.doubted;
    if (begins) {
      backend.doubted = true;
      this.#timer.arm(this.#pauseEnd, DOUBT_MS);
    }
    if (nowMs - this.#tellingSinceMs >= TELLING_MS) {
      this.#tellingSinceMs = nowMs;
      this.#toldCount = 0;
    }
    if (this.#toldCount >= consecutiveErrors && !begins) return;
    this.#toldCount += 1;
    this.#tell(errorsMs.length, detail);
  }

  #endPause(): void {
    if (this.#backend.trial === 'taken') this.#backend.trial = 'free';
    this.#backend.doubted = false;
  }
}
