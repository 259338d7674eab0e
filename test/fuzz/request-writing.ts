/** Random requests to the upstream client, and the bytes that it sends for them. */

import { SMALL_PIECE_BYTES } from '../../src/contract/downstream.ts';
import { CHUNKED_BODY, NO_BODY } from '../../src/contract/request-head.ts';
import { RequestSender } from '../../src/upstream/request-sender.ts';
import type { UpstreamRequest } from '../../src/upstream/upstream-request.ts';
import { MemoryWire } from '../support/memory-wire.ts';
import { POISON } from '../support/poisoned-buffers.ts';
import { turn } from './memory-socket.ts';
import { passingTrailers } from './passing-fields.ts';
import type { Random } from './random.ts';
import type { ReadRequest } from './request-reader.ts';

export interface RequestToWrite {
  request: UpstreamRequest;
  fields: string[];
  pieces: string[];
  trailers: string[];
}

const METHODS = [
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'PATCH',
  'HEAD',
  'OPTIONS',
  'TRACE',
  'PROPFIND',
  'QUERY',
  'M-SEARCH',
];
const TARGETS = ['/', '/a?b=c', '/%0d%0aX:%20y', '//evil/x', '/"<>{}|^`', '/../x', `/${'a'.repeat(3000)}`];
const NAMES = [
  'X-A',
  'Accept',
  'Cookie',
  'Via',
  "!#$%&'*+-.^`|~9",
  'x-forwarded-for',
  'traceparent',
  '__proto__',
  'constructor',
];
const VALUES = ['', 'a', 'a b', '\xe9\xff', 'a:b', ',', 'x'.repeat(500), 'a\tb', 'GET / HTTP/1.1'];
const TRAILER_NAMES = [
  ...NAMES,
  'X Y',
  '',
  'X:Y',
  'Host',
  'Content-Length',
  'Transfer-Encoding',
  'Authorization',
  'X-T\r\n',
  'Set-Cookie',
  'x\xe9',
];
const TRAILER_VALUES = [...VALUES, 'a\r\nX: y', 'a\0', 'a\nb', '\x7f', '\r\n\r\nGET / HTTP/1.1'];

/** requestToWrite makes a request as the proxy might, but with some trailers that must not be sent. */
export function requestToWrite(random: Random): RequestToWrite {
  const fields = [
    'Host',
    'a',
    ...random.some(6, () => random.pick(NAMES)).flatMap((name) => [name, random.pick(VALUES)]),
  ];
  let headerLines = '';
  for (let i = 0; i < fields.length; i += 2) headerLines += `${fields[i]}: ${fields[i + 1]}\r\n`;
  const most = random.oneIn(40) ? 70_000 : 400;
  const pieces = random.some(5, () => random.text(most));
  const kind = random.below(3);
  const bodyLength = kind === 0 ? NO_BODY : kind === 1 ? CHUNKED_BODY : pieces.join('').length;
  const isTarget = random.oneIn(10);
  const method = isTarget ? 'OPTIONS' : random.pick(METHODS);
  return {
    request: { method, target: isTarget ? '*' : random.pick(TARGETS), headerLines, bodyLength, upgrade: '' },
    fields,
    pieces: kind === 0 ? [] : pieces,
    trailers: random
      .some(3, () => random.pick(TRAILER_NAMES))
      .flatMap((name) => [name, random.pick(TRAILER_VALUES)]),
  };
}

/** What node's server must read. */
export function expectedOf({ request, fields, pieces, trailers }: RequestToWrite): ReadRequest {
  const { method, target, bodyLength } = request;
  const framing =
    bodyLength === NO_BODY
      ? []
      : bodyLength === CHUNKED_BODY
        ? ['Transfer-Encoding', 'chunked']
        : ['Content-Length', String(bodyLength)];
  const isSound = (name: string, value: string) =>
    /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name) && !/[\x00-\x08\x0a-\x1f\x7f]/.test(value);
  const sound = trailers.filter((_, i) =>
    isSound(trailers[i - (i % 2)] ?? '', trailers[i - (i % 2) + 1] ?? ''),
  );
  return {
    method,
    target,
    version: '1.1',
    headers: [...fields, ...framing],
    body: pieces.join(''),
    trailers: bodyLength === CHUNKED_BODY ? passingTrailers(sound) : [],
    complete: true,
  };
}

/** writtenBytes sends requests one after the other over one connection, as the pool does, and returns the bytes as latin1. */
export async function writtenBytes(random: Random, requests: readonly RequestToWrite[]): Promise<string> {
  const wire = new RecordingWire(random);
  const sender = new RequestSender(wire, {
    onRequestSent: () => undefined,
    onWritable: () => undefined,
    onBlocked: () => undefined,
    onUnblocked: () => undefined,
  });
  wire.onDrain = () => sender.drained();
  for (const { request, pieces, trailers } of requests) {
    sender.begin(request);
    for (const text of pieces) {
      const piece = Buffer.from(text, 'latin1');
      const isFree = sender.write(piece);
      // Overwrites memory that was given back, so that late reads are noticed.
      if (isFree || piece.length < SMALL_PIECE_BYTES) piece.fill(POISON);
      for (let left = 50; wire.blocked && left > 0; left--) await turn();
      if (random.oneIn(4)) await turn();
    }
    sender.end(trailers);
    for (let left = 50; !sender.finished && left > 0; left--) await turn();
    if (!sender.finished) throw new Error('the sender did not finish');
    sender.abandon();
  }
  return wire.text;
}

/** Reads the bytes at once or later, as a kernel does. */
class RecordingWire extends MemoryWire {
  readonly #random: Random;
  #waiting: (() => void)[] = [];

  constructor(random: Random) {
    super();
    this.#random = random;
  }

  override get blocked(): boolean {
    return this.#waiting.length > 0;
  }

  override write(take: () => void): boolean {
    if (!this.blocked && !this.#random.oneIn(3)) {
      take();
      return true;
    }
    this.#waiting.push(take);
    if (this.#waiting.length === 1) setImmediate(() => this.#drain());
    return false;
  }

  #drain(): void {
    for (const take of this.#waiting.splice(0)) take();
    this.onDrain?.();
  }
}
