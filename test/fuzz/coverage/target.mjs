/**
 * What the coverage-guided fuzzer calls with bytes of its own: the response parser must not throw, and must read the bytes
 * in one way however they are cut. Runs on compiled files, which it can instrument.
 */
import assert from 'node:assert/strict';
import {
  HEAD_FINAL,
  HEAD_INVALID,
  ResponseParser,
} from '../../../.tmp/fuzz-build/src/upstream/response-parser.js';

/** @param {Buffer} data the first two bytes say how to cut and what was asked */
export function fuzz(data) {
  if (data.length < 3) return;
  const step = 1 + (data[0] & 31);
  const method = (data[1] & 7) === 7 ? 'HEAD' : 'GET';
  const bytes = data.subarray(2);
  const whole = read(bytes, bytes.length, method);
  const cut = read(bytes, step, method);
  assert.equal(cut.complete, whole.complete);
  if (whole.complete) assert.deepEqual(cut, whole);
}

function read(bytes, step, method) {
  const parser = new ResponseParser();
  parser.start(method);
  const found = { complete: false, status: 0, lines: '', body: '', trailers: [], endAtBytes: 0 };
  for (let from = 0; from < bytes.length && !found.complete && problemOf(parser) === ''; from += step) {
    // The parser moves payload within its buffer.
    const piece = Buffer.from(bytes.subarray(from, from + step));
    found.endAtBytes = from + readPiece(parser, piece, found);
  }
  if (!found.complete && problemOf(parser) === '') found.complete = parser.body.endOfInput();
  return found;
}

function problemOf(parser) {
  return parser.problem || parser.body.problem;
}

function readPiece(parser, piece, found) {
  let at = 0;
  while (at < piece.length && found.status === 0) {
    const kind = parser.readHead(piece, at, piece.length);
    at = parser.at;
    if (kind === HEAD_INVALID) return at;
    if (kind !== HEAD_FINAL) continue;
    found.status = parser.head.status;
    found.lines = parser.head.lines;
    found.complete = parser.body.complete;
  }
  if (at === piece.length || found.complete) return at;
  const { body } = parser;
  body.read(piece, at, piece.length);
  found.body += piece.toString('latin1', body.payloadFrom, body.payloadTo);
  found.complete = body.complete;
  if (found.complete) found.trailers = body.trailers;
  return body.at;
}
