/** A client's connection without a server and without a socket: time and bytes come as a test says. */
import assert from 'node:assert/strict';
import type { Downstream, DownstreamListener, ResponseStart } from '../../src/contract/downstream.ts';
import { BodyBuffers } from '../../src/http1/body-buffers.ts';
import { DeadlineWheel } from '../../src/infra/deadline-wheel.ts';
import type { Plan } from '../../src/proxy/plan.ts';
import type { ConnectionOwner, Failure } from '../../src/worker/inbound/engine.ts';
import { ClientConnection } from '../../src/worker/inbound/wire/client-connection.ts';
import { StuckWire } from './stuck-wire.ts';

export const HEADERS_MS = 300;
export const KEEP_ALIVE_MS = 5_000;
export const TICK_MS = 20;
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

/** Scene is a connection and the server that it belongs to. */
export class Scene implements ConnectionOwner {
  nowMs = 0;
  readonly clock = { monotonicMs: () => this.nowMs, wallMs: () => this.nowMs };
  readonly wheel = new DeadlineWheel({
    clock: this.clock,
    tickMs: TICK_MS,
    onError: (error) => {
      throw error;
    },
  });
  readonly buffers = new BodyBuffers({ poisoned: true });
  readonly plan = {
    limits: { bodyBytes: 1 << 20, targetBytes: 8_192, headerBytes: 16_384, headerCount: 100 },
    timeouts: { headersMs: HEADERS_MS, bodyIdleMs: 1_000, writeIdleMs: 1_000, keepAliveMs: KEEP_ALIVE_MS },
  } as unknown as Plan;
  draining = false;
  readonly wire = new StuckWire();
  readonly connection: ClientConnection;
  readonly targets: string[] = [];
  readonly refusals: number[] = [];
  closedCount = 0;
  readonly #serve: (downstream: Downstream) => void;

  constructor(serve: (downstream: Downstream) => void) {
    this.#serve = serve;
    this.connection = new ClientConnection('127.0.0.1', this);
    this.connection.wire = this.wire;
    this.wire.onDrain = () => this.connection.onDrain();
  }

  /** read brings bytes in one read. */
  read(text: string): void {
    const count = this.connection.nextBuffer().write(text, 'latin1');
    assert.equal(count, text.length, 'more than one read');
    this.connection.onRead(count);
  }

  pass(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += TICK_MS;
      this.wheel.tick();
    }
  }

  /** Of each answer so far, whether it said that it is the last. */
  get closings(): boolean[] {
    const heads = this.wire.text.split('\r\n\r\n').slice(0, -1);
    return heads.map((head) => head.includes('\r\nConnection: close'));
  }

  takeSurplus(): boolean {
    return false;
  }

  serve(downstream: Downstream): void {
    this.targets.push(downstream.head.target);
    this.#serve(downstream);
  }

  onOverload(): void {
    throw new Error('overload');
  }

  refusalOf(_connection: unknown, { status }: Failure): string {
    this.refusals.push(status);
    return `HTTP/1.1 ${status} No\r\nConnection: close\r\n\r\n`;
  }

  onConnectionClosed(): void {
    this.closedCount++;
  }
}

function ignore(): void {
  // Nothing of it is of interest.
}

/** listener hears what a test names and lets the rest go by. */
export function listener(heard: Partial<DownstreamListener> = {}): DownstreamListener {
  return {
    onRequestBody: ignore,
    onRequestBodyEnd: ignore,
    onRequestBodyInvalid: ignore,
    onFlushed: ignore,
    onStalled: ignore,
    onSent: ignore,
    onGone: ignore,
    ...heard,
  };
}

/** What a server does that answers every request as it comes. */
export const answerAtOnce = (downstream: Downstream): void => {
  downstream.listen(listener());
  downstream.complete(OK, '');
};

/** Hands out every request, with its body's pieces and whether it has come to its end. */
export interface Upload {
  downstream: Downstream;
  pieces: Buffer[];
  complete: boolean;
}

/** uploadScene reads every body; `onPiece` is told of each piece. */
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
