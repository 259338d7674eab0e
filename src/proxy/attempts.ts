/** The attempts of one request: which backend gets it, and whether another one follows a failure. */
import type { Backend } from '../balance/backend.ts';
import type { LbError } from '../contract/errors.ts';
import { OUTCOMES, type Outcome, type Reason } from '../contract/outcomes.ts';
import type { ResponseSink, UpstreamRequest } from '../upstream/upstream-request.ts';
import type { Admission } from './admission.ts';
import { Attempt } from './attempt.ts';
import type { PlannedBackend } from './plan-pool.ts';
import type { RequestBody } from './request-body.ts';
import { decideRetry, isNothingDone } from './retry-policy.ts';

/** Attempts is made by a transaction that has passed every check. The transaction is the sink of the answer. */
export class Attempts {
  /** The last one; null before the first. */
  current: Attempt | null = null;
  count = 0;

  readonly #admission: Admission;
  readonly #request: UpstreamRequest;
  readonly #body: RequestBody | null;
  readonly #sink: ResponseSink;
  readonly #tried: Backend[] = [];
  #connectFailures = 0;
  #replaced = false;

  constructor(admission: Admission, request: UpstreamRequest, body: RequestBody | null, sink: ResponseSink) {
    this.#admission = admission;
    this.#request = request;
    this.#body = body;
    this.#sink = sink;
  }

  /** next begins an attempt at a backend that has not been tried. @returns false when none is left */
  next(): boolean {
    const pool = this.#admission.route?.pool;
    const backend = pool?.algorithm.pick(this.#tried) ?? null;
    const target = backend === null ? undefined : pool?.byBackend.get(backend);
    if (target === undefined) return false;
    this.#tried.push(target.backend);
    this.#start(target, { fresh: false });
    return true;
  }

  #start(target: PlannedBackend, options: { fresh: boolean }): void {
    const request = this.#request;
    this.count += 1;
    // HTTP/1.0 clients may leave Host out; backends get one (RFC 9112 §3.2).
    const lines = this.#admission.host === '' ? `Host: ${target.authority}\r\n${request.headerLines}` : '';
    const sent = lines === '' ? request : { ...request, headerLines: lines };
    this.current = new Attempt(target, sent, this.#sink, options);
    // A parked connection is open already.
    this.connected();
  }

  /** connected: the body may flow, if the connection is open. */
  connected(): void {
    if (this.current !== null) this.#body?.flowTo(this.current.exchange);
  }

  /** failed: the current attempt ended with an error. @returns false where it was over before */
  failed(error: LbError): boolean {
    if (this.current?.failed(error) !== true) return false;
    // `overload` means that this worker cannot open connections; it may still have a parked one to another backend.
    if (isNothingDone(error.code)) this.#connectFailures += 1;
    return true;
  }

  /** retry follows failed, while the client has nothing of an answer. @returns whether another attempt is under way */
  retry(error: LbError): boolean {
    const pool = this.#admission.route?.pool;
    if (this.current === null || pool == null) return false;
    const { target, exchange } = this.current;
    const { begun } = exchange;
    const choice = decideRetry({
      code: error.code,
      retryable: error.retryable,
      method: this.#request.method,
      bodyIntact: begun !== null || (this.#body?.unread ?? true),
      connectFailures: this.#connectFailures,
      replaced: this.#replaced,
    });
    if (choice === 'none') return false;
    this.#request.begun = begun;
    if (choice === 'fresh' || !this.next()) {
      // Without another backend, the one that refused the request gets it again, once.
      const mayRepeat = error.code === 'backend_busy' && exchange.connected && !this.#replaced;
      if (choice === 'other' && !mayRepeat) return false;
      this.#replaced = true;
      this.#start(target, { fresh: true });
    }
    pool.countRetry(choice);
    return true;
  }

  /** outcomeOf is how the request ends if nothing follows this error. While no backend of the pool is up, that it cannot be connected is no news. */
  outcomeOf({ code }: LbError): Outcome {
    const backends = this.#admission.route?.pool?.byBackend.keys() ?? [];
    if (code === 'connect_failed' && [...backends].every(({ standing }) => standing !== 'up'))
      return OUTCOMES.no_backend;
    return OUTCOMES[code as Reason] ?? OUTCOMES.internal_error;
  }
}
