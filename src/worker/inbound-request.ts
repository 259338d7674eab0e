/** Node's IncomingMessage with what a body is asked for in words of our own, so that a lighter object (short-messages.ts) can do the same. */
import { IncomingMessage } from 'node:http';

/** BodySink takes a body as it comes. */
export interface BodySink {
  onPiece(chunk: Buffer): void;
  onEnd(): void;
}

export class InboundRequest extends IncomingMessage {
  /** flowInto begins to read the body; once. */
  flowInto(sink: BodySink): void {
    this.on('data', (chunk: Buffer) => sink.onPiece(chunk));
    this.on('end', () => sink.onEnd());
  }

  /** holdBody: the sink takes no more until releaseBody. */
  holdBody(): void {
    this.pause();
  }

  releaseBody(): void {
    this.resume();
  }

  /** dropBody reads one into nothing that did not flow when its answer had left. */
  dropBody(): void {
    this.resume();
  }

  /** Whether pieces would go to the sink as the parser makes them. */
  get bodyFlows(): boolean {
    return this.readableLength === 0 && !this.isPaused();
  }
}
