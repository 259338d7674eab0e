/** What a gRPC call has beside what every request has: the client's deadline, and the status in its access line. */
import type { Outcome } from '../contract/outcomes.ts';
import type { RequestHead } from '../contract/request-head.ts';
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';
import type { AccessRecord } from './access-record.ts';
import { grpcMessage, grpcStatusOf, grpcTimeoutMs, statusInLines, statusInTrailers } from './grpc.ts';

/** GrpcCall is made by the transaction of a call, and hears from it. */
export class GrpcCall {
  readonly #record: AccessRecord;
  readonly #timer: DeadlineTimer;
  /** null: the client waits for as long as it takes. */
  readonly #deadline: Deadline | null = null;

  /** @param owner is told once the client has stopped waiting */
  constructor(head: RequestHead, record: AccessRecord, timer: DeadlineTimer, owner: { onDeadline(): void }) {
    this.#record = record;
    this.#timer = timer;
    const timeoutMs = grpcTimeoutMs(head);
    if (timeoutMs === Number.POSITIVE_INFINITY) return;
    this.#deadline = new Deadline(() => owner.onDeadline());
    timer.arm(this.#deadline, timeoutMs);
  }

  /** The backend's head. @param lines as ResponseHead.lines */
  onHead(lines: string): void {
    this.#record.grpcStatus = statusInLines(lines);
  }

  /** The end of the backend's answer. */
  onTrailers(rawTrailers: readonly string[]): void {
    this.#record.grpcStatus ??= statusInTrailers(rawTrailers);
    this.onWhole();
  }

  /** The answer is there, or will never be: a client that reads it slowly keeps nobody waiting. Also called when the call is over. */
  onWhole(): void {
    if (this.#deadline !== null) this.#timer.remove(this.#deadline);
  }

  /** refused returns the lines that tell the client why it gets no answer of a backend. */
  refused(outcome: Outcome): string {
    const [, status, , message] = this.failed(outcome);
    return `grpc-status: ${status}\r\ngrpc-message: ${message}\r\n`;
  }

  /** failed returns the trailers that tell the client why the answer ends here. */
  failed(outcome: Outcome): string[] {
    this.onWhole();
    const status = grpcStatusOf(outcome);
    this.#record.grpcStatus = status;
    return ['grpc-status', String(status), 'grpc-message', grpcMessage(outcome.title)];
  }
}
