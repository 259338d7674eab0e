/** A request with a body, and a sink that sends it. */
import { CHUNKED_BODY } from '../../../src/contract/request-head.ts';
import type { UpstreamRequest } from '../../../src/upstream/upstream-request.ts';
import { get, RecordingSink } from '../support.ts';

/** post is a POST whose body has no announced length. */
export function post(more: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return get('/', { method: 'POST', bodyLength: CHUNKED_BODY, ...more });
}

/** BodySink sends a body once it may. */
export class BodySink extends RecordingSink {
  readonly #pieces: readonly (string | Buffer)[];
  readonly #trailers: string[];

  constructor(pieces: readonly (string | Buffer)[], trailers: string[] = []) {
    super();
    this.#pieces = pieces;
    this.#trailers = trailers;
  }

  override onConnected(): void {
    super.onConnected();
    for (const piece of this.#pieces) this.exchange?.writeBody(Buffer.from(piece));
    this.exchange?.endBody(this.#trailers);
  }
}
