/** Input in single bytes takes memory and time in proportion to its size. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHUNKED_BODY } from '../../src/contract/request-head.ts';
import { BodyReader } from '../../src/http1/body-reader.ts';
import { RequestHeadReader } from '../../src/http1/request-head-reader.ts';
import { ResponseParser } from '../../src/upstream/response-parser.ts';
import { usedBytes } from '../proxy/bodies/memory.ts';
import { listener, Scene } from '../support/client-scene.ts';

const HIGH = { targetBytes: 1 << 20, headerBytes: 1 << 20 };
const PEERS = 50;
/** The objects of a connection, and its smallest buffer for pending bytes. */
const EACH_BYTES = 4_096;
const NOISE_BYTES = 1 << 20;

/** Makes `makeOne` for many peers and compares the memory with the bytes that each has sent. */
function assertHeld(sentBytes: number, makeOne: () => unknown): void {
  const kept: unknown[] = [makeOne()];
  const before = usedBytes();
  for (let i = 0; i < PEERS; i++) kept.push(makeOne());
  const each = (usedBytes() - before) / PEERS;
  assert.ok(
    each <= 4 * sentBytes + EACH_BYTES + NOISE_BYTES / PEERS,
    `${each} bytes are held for ${sentBytes}`,
  );
  assert.equal(kept.length, PEERS + 1);
}

/** Feeds each byte by itself, in memory that is reused. */
function drip(text: string, read: (buffer: Buffer, to: number) => void): void {
  const buffer = Buffer.alloc(64);
  for (let i = 0; i < text.length; i++) {
    buffer[0] = text.charCodeAt(i);
    read(buffer, 1);
  }
}

test('trailers in single bytes take at most four times their size', () => {
  const text = `0\r\nX: ${'y'.repeat(16_000)}`;
  assertHeld(text.length, () => {
    const reader = new BodyReader({ refusesFramingTrailers: false });
    reader.start(CHUNKED_BODY);
    drip(text, (buffer, to) => reader.read(buffer, 0, to));
    assert.equal(reader.problem, '');
    return reader;
  });
});

test("a backend's head in single bytes takes at most four times its size", () => {
  const text = `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(60_000)}`;
  assertHeld(text.length, () => {
    const parser = new ResponseParser();
    parser.start('GET');
    drip(text, (buffer, to) => parser.readHead(buffer, 0, to));
    assert.equal(parser.problem, '');
    return parser;
  });
});

test('a connection to a backend keeps nothing of an answer’s head', () => {
  const tokens = Array.from({ length: 5_000 }, (_, i) => `x${i}`).join();
  const bytes = Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: ${tokens}\r\n\r\n`,
    'latin1',
  );
  assertHeld(0, () => {
    const parser = new ResponseParser();
    parser.start('GET');
    parser.readHead(bytes, 0, bytes.length);
    assert.equal(parser.head?.status, 200);
    parser.forget();
    return parser;
  });
});

for (const line of ['a:\r\n', 'x-forwarded-q:\r\n', 'tracestate: a\r\n', 'X-Forwarded-For: 1.2.3.4\r\n']) {
  test(`a request of 2000 lines ${JSON.stringify(line)} holds at most four times their size`, () => {
    const bytes = Buffer.from(`GET / HTTP/1.1\r\n${line.repeat(2_000)}\r\n`, 'latin1');
    assertHeld(bytes.length, () => {
      const reader = new RequestHeadReader();
      assert.equal(reader.read(bytes, 0, bytes.length, HIGH), bytes.length);
      const { head } = reader;
      reader.forget();
      return head;
    });
  });
}

/** The least CPU time of some tries. */
function cpuMs(run: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const before = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

const TIMES = 8;
/** Linear time is 8 times as long, quadratic 64 times; shorter runs are mostly noise. */
const MOST = 24;
const SHORTEST_MS = 2;

function assertLinear(shortBytes: number, run: (bytes: number) => void): void {
  run(shortBytes);
  const short = Math.max(
    SHORTEST_MS,
    cpuMs(() => run(shortBytes)),
  );
  const long = cpuMs(() => run(shortBytes * TIMES));
  assert.ok(long <= MOST * short, `${long} ms for ${TIMES} times what takes ${short} ms`);
}

for (const [name, text] of [
  ['a request line', (bytes: number) => `GET /${'x'.repeat(bytes)}`],
  ['a field', (bytes: number) => `GET / HTTP/1.1\r\nX: ${'x'.repeat(bytes)}`],
  ['lines', (bytes: number) => `GET / HTTP/1.1\r\n${'x: y\r\n'.repeat(bytes / 6)}`],
] as const) {
  test(`${name} of a request in single bytes takes linear time`, () => {
    assertLinear(8_192, (bytes) => {
      const reader = new RequestHeadReader();
      const buffer = Buffer.from(text(bytes), 'latin1');
      for (let to = 1; to <= buffer.length; to++) reader.read(buffer, 0, to, HIGH);
      assert.equal(reader.problem, '');
    });
  });
}

test("a backend's head in single bytes takes linear time", () => {
  assertLinear(7_000, (bytes) => {
    const parser = new ResponseParser();
    parser.start('GET');
    drip(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(bytes)}`, (buffer, to) => parser.readHead(buffer, 0, to));
    assert.equal(parser.problem, '');
  });
});

for (const [name, request] of [
  ['behind a request', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['as a body that nobody has asked for', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n'],
] as const) {
  test(`empty lines in single bytes ${name} take linear time`, () => {
    assertLinear(4_000, (bytes) => {
      const scene = new Scene((downstream) => downstream.listen(listener()));
      scene.read(request);
      for (let i = 0; i < bytes / 2; i++) {
        scene.read('\r');
        scene.read('\n');
      }
      assert.equal(scene.closedCount, 0);
      scene.connection.destroy();
    });
  });
}
