/**
 * What the coverage-guided fuzzer calls with bytes of its own: a client's connection must not throw, must read the bytes in
 * one way however they are cut, and must keep little memory for what waits its turn. Runs on compiled files.
 */
import assert from 'node:assert/strict';
import { PendingBytes } from '../../../.tmp/fuzz-build/src/memory/pending-bytes.js';
import { differenceOfCuts } from '../../../.tmp/fuzz-build/test/fuzz/compare-parsed.js';
import { feedConnection, singleEnds } from '../../../.tmp/fuzz-build/test/fuzz/fed-connection.js';
import { Random } from '../../../.tmp/fuzz-build/test/fuzz/random.js';

/** Memory for waiting bytes may be so many times what was received, and a constant. */
const KEPT_RATIO = 4;
const KEPT_BYTES = 65_536;

let keptBytes = 0;
const { append } = PendingBytes.prototype;
PendingBytes.prototype.append = function (...given) {
  append.apply(this, given);
  keptBytes = Math.max(keptBytes, this.buffer.length);
};

/** @param {Buffer} data the first two bytes say how to cut and what is done with the requests */
export function fuzz(data) {
  if (data.length < 3) return;
  const [pattern, seed] = data;
  const bytes = data.subarray(2);
  const options = { seed, random: new Random(seed) };
  const whole = read(bytes, [bytes.length], options);
  assert.deepEqual(whole.faults, []);
  for (const ends of [endsOf(bytes, pattern), singleEnds(bytes)])
    assert.equal(differenceOfCuts(whole, read(bytes, ends, options)), null);
}

function read(bytes, ends, options) {
  keptBytes = 0;
  const found = feedConnection(bytes, ends, options);
  assert.ok(keptBytes <= KEPT_RATIO * bytes.length + KEPT_BYTES, `${keptBytes} of ${bytes.length}`);
  return found;
}

/** Cuts every few bytes, or once. */
function endsOf(bytes, pattern) {
  if (pattern >= 128) return [...new Set([pattern & 127, bytes.length])].filter((end) => end <= bytes.length);
  const step = 2 + (pattern & 31);
  const ends = [];
  for (let end = step; end < bytes.length; end += step) ends.push(end);
  return [...ends, bytes.length];
}
