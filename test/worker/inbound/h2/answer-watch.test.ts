/** Which of the answers that wait are counted, and which end first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CountedMemory, PendingMemory } from '../../../../src/memory/pending-bytes.ts';
import { letGo, lookAtAnswers } from '../../../../src/worker/inbound/h2/answer-watch.ts';
import type { ClientH2Request } from '../../../../src/worker/inbound/h2/client-h2-request.ts';

const KIB = 1_024;
const WRITE_IDLE_MS = 10_000;

/** One waits with 64 KiB. */
class FakeRequest {
  blocked = true;
  progress = 0;
  seenProgress = 0;
  progressMs = 0;
  held: CountedMemory | null = null;
  heldMemoryBytes = 64 * KIB;
  ends: string[] = [];

  slow(): void {
    // It holds no place at a backend.
  }

  stalled(): void {
    this.ends.push('stalled');
  }

  destroy(): void {
    this.ends.push('destroyed');
  }
}

function scene(maxBytes: number) {
  const memory = new PendingMemory(maxBytes);
  let nowMs = 1_000;
  const look = (...connections: FakeRequest[][]) => {
    nowMs += 1_000;
    for (const requests of connections) {
      lookAtAnswers(requests as unknown as ClientH2Request[], memory, { nowMs, writeIdleMs: WRITE_IDLE_MS });
      memory.cutExcess({ onOverload: () => undefined });
    }
  };
  return { memory, look };
}

const requests = (count: number) => Array.from({ length: count }, () => new FakeRequest());
const ended = (all: FakeRequest[]) => all.flatMap(({ ends }, i) => ends.map((end) => `${i} ${end}`));

test('one answer of each connection is not counted, and what has left, or is over, no more', () => {
  const { memory, look } = scene(1 << 30);
  const one = requests(1);
  const many = requests(4);
  look(one, many);
  assert.equal(memory.bytes, 3 * 64 * KIB);
  assert.deepEqual(
    one.map(({ held }) => held),
    [null],
  );
  for (const request of many.slice(2)) request.blocked = false;
  for (const request of many.slice(2)) request.heldMemoryBytes = 0;
  look(one, many);
  assert.equal(memory.bytes, 64 * KIB);
  letGo(many[1] as unknown as ClientH2Request, memory);
  assert.equal(memory.bytes, 0);
});

test('the answer that is not counted is the largest, wherever it stands', () => {
  const { memory, look } = scene(1 << 30);
  const many = requests(3);
  const sizes = [5 * KIB, 900 * KIB, 64 * KIB];
  for (const [i, request] of many.entries()) request.heldMemoryBytes = sizes[i] ?? 0;
  look(many);
  assert.equal(memory.bytes, 69 * KIB);
  look(many.toReversed());
  assert.equal(memory.bytes, 69 * KIB);
});

test('above the bound the answer of which nothing has left for the longest time ends', () => {
  const { memory, look } = scene(4 * 64 * KIB);
  const slow = requests(3);
  const stopped = requests(3);
  const late = requests(2);
  look(slow, stopped);
  for (const request of slow) request.progress += 1;
  look(slow, stopped);
  look(slow, stopped, late);
  assert.deepEqual([ended(slow), ended(stopped), ended(late)], [[], ['1 destroyed'], []]);
  assert.equal(memory.bytes, 4 * 64 * KIB);
});

test('an answer of which nothing leaves for timeouts.writeIdle is stalled, and progress begins it anew', () => {
  const { look } = scene(1 << 30);
  const [stopped = new FakeRequest(), slow = new FakeRequest()] = requests(2);
  for (let i = 0; i < 10; i++) look([stopped, slow]);
  assert.deepEqual(ended([stopped, slow]), []);
  slow.progress += 1;
  look([stopped, slow]);
  assert.deepEqual(ended([stopped, slow]), ['0 stalled']);
});

test('an answer that is over because it was stalled is counted no more', () => {
  const { memory, look } = scene(1 << 30);
  const many = requests(2);
  const [, stalled = new FakeRequest()] = many;
  look(many);
  assert.equal(memory.bytes, 64 * KIB);
  stalled.stalled = () => letGo(stalled as unknown as ClientH2Request, memory);
  for (const other of many) if (other !== stalled) other.blocked = false;
  for (let i = 0; i < 10; i++) look(many);
  assert.equal(memory.bytes, 0);
});
