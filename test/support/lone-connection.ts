/** A client's connection without a socket, and a minimal owner for it. */
import type { ClientFacts, Downstream } from '../../src/contract/downstream.ts';
import type { BodyBuffers } from '../../src/memory/body-buffers.ts';
import { PendingMemory } from '../../src/memory/pending-bytes.ts';
import type { UnparsedRequest } from '../../src/proxy/handler.ts';
import type { Plan } from '../../src/proxy/plan.ts';
import type { BaseConnection, ConnectionOwner } from '../../src/worker/inbound/base-connection.ts';
import { ClientConnection } from '../../src/worker/inbound/http1/client-connection.ts';
import { FakeTime } from './fake-time.ts';
import type { MemoryWire } from './memory-wire.ts';

const CLIENT: ClientFacts = {
  address: '127.0.0.1',
  scheme: 'http',
  certSubject: null,
  acceptedMs: 0,
  ends: {},
};
export const HEADERS_MS = 300;
export const KEEP_ALIVE_MS = 5_000;

/** The part of a plan that a connection reads. The limits are the defaults. */
const PLAN = {
  limits: { bodyBytes: 1_048_576, targetBytes: 8_192, headerBytes: 16_384, headerCount: 100 },
  timeouts: { headersMs: HEADERS_MS, bodyIdleMs: 1_000, writeIdleMs: 1_000, keepAliveMs: KEEP_ALIVE_MS },
} as unknown as Plan;

/** LoneConnection owns one connection; `serve` gets its requests. */
export abstract class LoneConnection<W extends MemoryWire> extends FakeTime implements ConnectionOwner {
  readonly plan = PLAN;
  readonly buffers: BodyBuffers;
  readonly wire: W;
  readonly connection: ClientConnection;
  readonly pendingMemory = new PendingMemory();
  draining = false;
  closedCount = 0;

  constructor(wire: W, buffers: BodyBuffers) {
    super();
    this.buffers = buffers;
    this.wire = wire;
    const client = { ...CLIENT, acceptedMs: this.timer.monotonicMs() };
    this.connection = new ClientConnection(client, this, () => wire, this.pendingMemory);
    wire.onDrain = () => this.connection.onDrain();
  }

  abstract serve(downstream: Downstream): void;

  admit(): void {
    // There is no cap.
  }

  replace(): void {
    throw new Error('nobody takes it over');
  }

  endsWithAnswer(): boolean {
    return false;
  }

  onOverload(): void {
    throw new Error('overload');
  }

  refusalOf(_connection: BaseConnection, { status }: UnparsedRequest): string {
    return `HTTP/1.1 ${status} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
  }

  onConnectionClosed(): void {
    this.closedCount++;
  }
}
