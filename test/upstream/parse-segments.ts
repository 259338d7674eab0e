/** Drives a ResponseParser as a connection does, without sockets. The outcome must not depend on the segmentation. */
import { fieldsOf } from '../../src/http1/field-lines.ts';
import {
  HEAD_FINAL,
  HEAD_INTERIM,
  HEAD_INVALID,
  ResponseParser,
} from '../../src/upstream/response-parser.ts';

export interface Outcome {
  interims: number[];
  status: number | null;
  reason: string;
  headers: string[];
  contentLength: number;
  body: string;
  trailers: string[];
  complete: boolean;
  persistent: boolean;
  leftoverBytes: number;
  problem: string;
}

const ROOM_BYTES = 64;

/**
 * parseSegments feeds one segment per read, each at an odd place of a dirty buffer that is overwritten afterwards, as the
 * shared one is.
 */
export function parseSegments(segments: readonly Buffer[], method: string, fin: boolean): Outcome {
  const parser = new ResponseParser();
  parser.start(method);
  const outcome: Outcome = {
    interims: [],
    status: null,
    reason: '',
    headers: [],
    contentLength: -1,
    body: '',
    trailers: [],
    complete: false,
    persistent: false,
    leftoverBytes: 0,
    problem: '',
  };
  for (const segment of segments) {
    if (outcome.problem !== '') break;
    const buffer = Buffer.alloc(segment.length + ROOM_BYTES, '\r\n');
    segment.copy(buffer, 7);
    feed(parser, buffer, { from: 7, to: 7 + segment.length }, outcome);
    buffer.fill(0x21);
  }
  if (fin && outcome.problem === '' && !outcome.complete && parser.body.endOfInput()) outcome.complete = true;
  outcome.persistent = outcome.complete && parser.persistent;
  return outcome;
}

function feed(
  parser: ResponseParser,
  buffer: Buffer,
  { from, to }: { from: number; to: number },
  outcome: Outcome,
): void {
  let at = from;
  while (at < to && outcome.status === null) {
    const found = parser.readHead(buffer, at, to);
    at = parser.at;
    if (found === HEAD_INVALID) {
      outcome.problem = parser.problem;
      return;
    }
    const head = parser.head;
    if (found === HEAD_INTERIM) outcome.interims.push(head.status);
    if (found !== HEAD_FINAL) continue;
    outcome.status = head.status;
    outcome.reason = head.reason;
    outcome.headers = fieldsOf(head.lines);
    outcome.contentLength = head.contentLength;
    outcome.complete = parser.body.complete;
  }
  if (at < to && !outcome.complete && outcome.status !== null) {
    const { body } = parser;
    body.read(buffer, at, to);
    at = body.at;
    outcome.problem = body.problem;
    outcome.body += buffer.toString('latin1', body.payloadFrom, body.payloadTo);
    outcome.complete = body.complete;
    if (outcome.complete) outcome.trailers = body.trailers;
  }
  outcome.leftoverBytes += to - at;
}
