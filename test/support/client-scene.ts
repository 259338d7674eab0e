/** A client's connection without a socket. The test controls each read and the time. */
import assert from 'node:assert/strict';
import type { Downstream, DownstreamListener, ResponseStart } from '../../src/contract/downstream.ts';
import type { UnparsedRequest } from '../../src/proxy/handler.ts';
import type { BaseConnection } from '../../src/worker/inbound/base-connection.ts';
import { TICK_MS } from './fake-time.ts';
import { KEEP_ALIVE_MS, LoneConnection } from './lone-connection.ts';
import { PoisonedBuffers } from './poisoned-buffers.ts';
import { StuckWire } from './stuck-wire.ts';

export const OK: ResponseStart = {
  status: 200,
  reason: 'OK',
  lines: '',
  contentLength: 0,
  hasBody: false,
  closing: false,
};
export const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
export const post = (body: string) =>
  `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** Scene records the requests and refusals of its connection. The test's `serve` answers the requests. */
export class Scene extends LoneConnection<StuckWire> {
  readonly targets: string[] = [];
  readonly refusals: number[] = [];
  readonly #serve: (downstream: Downstream) => void;

  constructor(serve: (downstream: Downstream) => void) {
    super(new StuckWire(), new PoisonedBuffers());
    this.#serve = serve;
  }

  /** read delivers bytes in one read. */
  read(text: string): void {
    const count = this.connection.nextBuffer().write(text, 'latin1');
    assert.equal(count, text.length, 'more than one read');
    this.connection.onRead(count);
  }

  /** For each answer: whether it has `Connection: close`. */
  get closings(): boolean[] {
    const heads = this.wire.text.split('\r\n\r\n').slice(0, -1);
    return heads.map((head) => head.includes('\r\nConnection: close'));
  }

  serve(downstream: Downstream): void {
    this.targets.push(downstream.head.target);
    this.#serve(downstream);
  }

  override refusalOf(connection: BaseConnection, request: UnparsedRequest): string {
    this.refusals.push(request.status);
    return super.refusalOf(connection, request);
  }
}

/** assertIdle checks that the connection waits for a request: it stays open for exactly the keepAlive time. */
export function assertIdle(scene: Scene): void {
  assert.equal(scene.connection.receiving, false);
  scene.pass(KEEP_ALIVE_MS - 10 * TICK_MS);
  assert.equal(scene.closedCount, 0, 'it was closed before keepAlive had passed');
  scene.pass(20 * TICK_MS);
  assert.deepEqual([scene.refusals, scene.closedCount], [[], 1]);
}

function ignore(): void {
  // Events that the test does not check.
}

/** listener makes a listener from the methods of a test; all other events are ignored. */
export function listener(heard: Partial<DownstreamListener> = {}): DownstreamListener {
  return {
    undeliveredBytes: 0,
    onRequestBody: ignore,
    onRequestBodyEnd: ignore,
    onRequestBodyInvalid: ignore,
    onFlushed: ignore,
    onSlow: ignore,
    onStalled: ignore,
    onSent: ignore,
    onGone: ignore,
    ...heard,
  };
}

/** Serves every request with an answer at once. */
export const answerAtOnce = (downstream: Downstream): void => {
  downstream.listen(listener());
  downstream.complete(OK, '');
};

/** A request with the pieces of its body so far; `complete`: the body has ended. */
export interface Upload {
  downstream: Downstream;
  pieces: Buffer[];
  complete: boolean;
}

/** uploadScene reads every body and calls `onPiece` after each piece. */
export function uploadScene(onPiece: (upload: Upload) => void = ignore): { scene: Scene; uploads: Upload[] } {
  const uploads: Upload[] = [];
  const scene = new Scene((downstream) => {
    const upload: Upload = { downstream, pieces: [], complete: false };
    uploads.push(upload);
    const onRequestBody = (piece: Buffer): void => {
      upload.pieces.push(piece);
      onPiece(upload);
    };
    const onRequestBodyEnd = (): void => {
      upload.complete = true;
    };
    downstream.listen(listener({ onRequestBody, onRequestBodyEnd }));
    downstream.readBody();
  });
  return { scene, uploads };
}
