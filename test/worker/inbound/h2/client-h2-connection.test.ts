/** A connection whose client is the test, and whose wire is in memory. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { Downstream, DownstreamListener } from '../../../../src/contract/downstream.ts';
import type { WireEvents } from '../../../../src/contract/wire.ts';
import type { WireMaker } from '../../../../src/infra/wire/wire-maker.ts';
import { PendingMemory } from '../../../../src/memory/pending-bytes.ts';
import type { ConnectionOwner } from '../../../../src/worker/inbound/base-connection.ts';
import { ClientH2Connection } from '../../../../src/worker/inbound/h2/client-h2-connection.ts';
import { LINGER_IDLE_MS, LINGER_MAX_MS } from '../../../../src/worker/inbound/lingering-connection.ts';
import { FakeTime, TICK_MS } from '../../../support/fake-time.ts';
import {
  CODES,
  FLAGS,
  frame,
  headers,
  number32,
  PREFACE,
  request,
  settings,
  TYPES,
} from '../../../support/h2-frames.ts';
import { MemoryWire } from '../../../support/memory-wire.ts';

const PIECE_BYTES = 65_536;
const LISTENER: DownstreamListener = {
  undeliveredBytes: 0,
  onRequestBody: () => undefined,
  onRequestBodyEnd: () => undefined,
  onRequestBodyInvalid: () => undefined,
  onFlushed: () => undefined,
  onSlow: () => undefined,
  onStalled: () => undefined,
  onSent: () => undefined,
  onGone: () => undefined,
};
const PLAN = {
  limits: { targetBytes: 8_192, headerBytes: 16_384, headerCount: 100 },
  timeouts: { headersMs: 10_000, writeIdleMs: 60_000, keepAliveMs: 60_000 },
};

/** Begins an answer that goes on. */
function answer(downstream: Downstream): void {
  downstream.listen(LISTENER);
  const head = { status: 200, reason: 'OK', lines: '', contentLength: -1, hasBody: true, closing: false };
  downstream.start(head);
  downstream.write(Buffer.alloc(PIECE_BYTES));
}

/** A client that takes no bytes of its answers. */
function connect() {
  const time = new FakeTime();
  let events!: WireEvents;
  const wire = new MemoryWire();
  const wires: Pick<WireMaker, 'accept'> = {
    accept: (_socket, wireEvents) => {
      events = wireEvents;
      return wire;
    },
  };
  const owner: Partial<ConnectionOwner> = {
    timer: time.timer,
    plan: PLAN as ConnectionOwner['plan'],
    endsWithAnswer: () => false,
    serve: answer,
    onOverload: () => assert.fail('overload'),
    onConnectionClosed: () => undefined,
  };
  const answers = new PendingMemory();
  const client = {
    address: '127.0.0.1',
    scheme: 'http',
    certSubject: null,
    acceptedMs: 0,
    ends: {},
  } as const;
  const connection = new ClientH2Connection({} as Socket, client, owner as ConnectionOwner, {
    wires: wires as WireMaker,
    bodies: new PendingMemory(),
    answers,
    countFlood: (kind) => assert.fail(`a flood: ${kind}`),
    noteFault: (kind) => assert.fail(`a fault: ${kind}`),
  });
  const send = (...frames: Buffer[]): void => {
    const bytes = Buffer.concat(frames);
    bytes.copy(events.nextBuffer());
    events.onRead(bytes.length);
  };
  send(Buffer.from(PREFACE, 'latin1'), settings([4, 0]));
  return { time, answers, send, events, connection, wire };
}

test('an answer is counted no more once its stream is reset, or its connection is over', () => {
  const { time, answers, send, events } = connect();
  for (const id of [1, 3, 5]) send(headers(id, request()));
  // The connection looks at its answers, and spares the largest.
  time.pass(1_100);
  assert.equal(answers.bytes, 2 * PIECE_BYTES);
  send(frame(TYPES.reset, 0, 5, number32(CODES.CANCEL)));
  assert.equal(answers.bytes, PIECE_BYTES);
  events.onEnd();
  assert.equal(answers.bytes, 0);
});

/** A connection whose only stream is over, and that was told to end. @param quietMs the client has said nothing for this long, and says no more */
function end({ quietMs = 0 } = {}) {
  const scene = connect();
  scene.send(headers(1, request()), frame(TYPES.reset, 0, 1, number32(CODES.CANCEL)));
  for (let ms = 0; ms < quietMs; ms += 500) scene.time.pass(500);
  scene.connection.beginDrain();
  if (quietMs === 0) scene.send(frame(TYPES.ping, FLAGS.ack, 0, Buffer.alloc(8)));
  scene.time.pass(quietMs === 0 ? TICK_MS : 1_000 + TICK_MS);
  return scene;
}

test('the end of a connection is a FIN, and the socket stays open while bytes of the client come', () => {
  const { time, send, wire } = end();
  const update = frame(TYPES.window, 0, 0, number32(16_384));
  for (let i = 0; i < 5; i++) {
    assert.deepEqual([wire.ended, wire.closed], [true, false]);
    time.pass(LINGER_IDLE_MS - 100);
    send(update);
    time.pass(100);
  }
  assert.equal(wire.closed, false);
  time.pass(LINGER_IDLE_MS);
  assert.equal(wire.closed, true);
});

test('a client that goes on sending keeps its socket for half a minute at most', () => {
  const { time, send, wire } = end();
  const ping = frame(TYPES.ping, 0, 0, Buffer.alloc(8));
  let ms = 0;
  for (; !wire.closed && ms < 60_000; ms += 1_000) {
    send(ping);
    time.pass(1_000);
  }
  assert.ok(ms >= LINGER_MAX_MS && ms <= LINGER_MAX_MS + 2 * LINGER_IDLE_MS, `${ms} ms`);
});

test('a client that has said nothing for a while is not waited for', () => {
  const { wire } = end({ quietMs: LINGER_IDLE_MS + 1_000 });
  assert.equal(wire.closed, true);
});
