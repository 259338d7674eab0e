/**
 * The response parser against node's own client on the same bytes. They must agree on every response, or the difference
 * must be one of the decided ones below: each names what it is about and recognises it in the bytes.
 */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { isTrailerAllowed } from '../../src/upstream/header-names.ts';
import { type Outcome, parseSegments } from './parse-segments.ts';

const RUNS = 2_000;
const MAX_HEADER_BYTES = 131_072;

interface NodeOutcome {
  ok: boolean;
  upgraded: boolean;
  status: number | null;
  headers: string[];
  body: string;
  trailers: string[];
  interims: number[];
  error: string;
}

const NAMES = ['X-A', 'x-b', 'Server', 'Set-Cookie', 'Date', 'Vary', 'ETag'];
const VALUES = ['', 'a', 'a b', '"q, r"', '\xe9', 'a:b', '\ta\t', 'x'.repeat(300)];

const field = fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES)).map(([n, v]) => `${n}: ${v}`);
const oddField = fc.constantFrom(
  'Content-Length: 2',
  'Content-Length: 02',
  'Content-Length: 2, 2',
  'Content-Length:',
  'Content-Length: +2',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: xchunked',
  'Connection: close',
  'Connection: keep-alive',
  'Keep-Alive: timeout=5',
  'Trailer: X-T',
  'Upgrade: x',
  'X-A : 1',
  ' X-A: 1',
  '\tX-A: 1',
  'X A: 1',
  'foo',
  ': x',
  'X-A: a\rb',
  'X-A: a\nb',
  'X-A: a\x00b',
  'X-A: a\x01b',
  'X-A: a\x7fb',
);
const version = fc.oneof(
  { weight: 20, arbitrary: fc.constant('HTTP/1.1') },
  { weight: 3, arbitrary: fc.constant('HTTP/1.0') },
  { weight: 1, arbitrary: fc.constantFrom('HTTP/2.0', 'HTTP/0.9', 'HTTP/1.2', 'http/1.1', 'ICY', 'HTTP/11') },
);
const status = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.constantFrom('200 OK', '404 Not Found', '503', '200', '500 ', '299 \xe9 x', '205 R'),
  },
  { weight: 3, arbitrary: fc.constantFrom('204 No Content', '304 Not Modified') },
  {
    weight: 2,
    arbitrary: fc.constantFrom('000 X', '99 X', '600 X', '2000 X', '20x X', '200 a\x01b', '101 S'),
  },
);
const chunk = fc
  .tuple(
    fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' }),
    fc.oneof(
      { weight: 10, arbitrary: fc.constant('') },
      { weight: 2, arbitrary: fc.constantFrom(';a', ';a=b', ';a="b c"') },
      { weight: 1, arbitrary: fc.constantFrom(';', '; a', ' ', ' ;a', ';a b', ';"', ';=') },
    ),
    fc.constantFrom('', '0', '00'),
  )
  .map(([data, extension, zeros]) => `${zeros}${data.length.toString(16)}${extension}\r\n${data}\r\n`);
const trailer = fc.oneof(
  { weight: 3, arbitrary: field },
  { weight: 2, arbitrary: fc.constantFrom('Host: a', 'Content-Length: 3', 'X-T : 1', 'foo', ' x: 1') },
);
const lines = (parts: string[]): string => parts.map((part) => `${part}\r\n`).join('');
const interim = fc
  .tuple(fc.constantFrom('100 Continue', '103 Early Hints'), fc.array(field, { maxLength: 2 }))
  .map(([line, fields]) => `HTTP/1.1 ${line}\r\n${lines(fields)}\r\n`);

/** Framing fields and body that fit together; the odd fields and the edits below break them. */
const framed = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .string({ maxLength: 60, unit: 'binary-ascii' })
      .map((body) => ({ fields: [`Content-Length: ${body.length}`], body })),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.array(chunk, { maxLength: 5 }),
        fc.array(trailer, { maxLength: 2 }),
        fc.constantFrom('0', '000', '0;x'),
      )
      .map(([chunks, trailers, last]) => ({
        fields: ['Transfer-Encoding: chunked'],
        body: `${chunks.join('')}${last}\r\n${lines(trailers)}\r\n`,
      })),
  },
  {
    weight: 2,
    arbitrary: fc.string({ maxLength: 60, unit: 'binary-ascii' }).map((body) => ({ fields: [], body })),
  },
);
const response = fc
  .record({
    before: fc.oneof(
      { weight: 20, arbitrary: fc.array(interim, { maxLength: 2 }).map((all) => all.join('')) },
      { weight: 1, arbitrary: fc.constantFrom('\r\n', '\n') },
    ),
    version,
    status,
    fields: fc.array(field, { maxLength: 4 }),
    odd: fc.oneof(
      { weight: 4, arbitrary: fc.constant([]) },
      { weight: 2, arbitrary: fc.array(oddField, { minLength: 1, maxLength: 1 }) },
    ),
    framed,
    behind: fc.oneof(
      { weight: 8, arbitrary: fc.constant('') },
      {
        weight: 1,
        arbitrary: fc.constantFrom('EXTRA', '\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx'),
      },
    ),
  })
  .map(
    (r) =>
      `${r.before}${r.version} ${r.status}\r\n${lines([...r.fields, ...r.odd, ...r.framed.fields])}\r\n${r.framed.body}${r.behind}`,
  );
const edit = fc.record({
  at: fc.double({ min: 0, max: 0.999, noNaN: true }),
  drop: fc.integer({ min: 0, max: 2 }),
  put: fc.constantFrom('', '\r', '\n', '\r\n', ' ', '\t', ':', '\0', '0', 'a', ';', ','),
});
const bytes = fc
  .tuple(
    response,
    fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 2, arbitrary: fc.array(edit, { maxLength: 2 }) },
    ),
  )
  .map(([text, edits]) => {
    let edited = text;
    for (const { at, drop, put } of edits) {
      const index = Math.floor(at * edited.length);
      edited = edited.slice(0, index) + put + edited.slice(index + drop);
    }
    return edited;
  });
const example = fc.record({
  text: bytes,
  method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD'),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
});

/** What is recognisable only in the final head: everything before the first body byte, without interim answers. */
function finalHead(text: string): string {
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    const head = end < 0 ? rest : rest.slice(0, end + 2);
    if (end < 0 || !/^HTTP\/1\.1 1(?!01)\d\d/.test(head)) return head;
    rest = rest.slice(end + 4);
  }
}

type Decision = [name: string, applies: (text: string, head: string) => boolean];

/** node accepts, we refuse. */
const STRICTER: Decision[] = [
  ['CR or LF before the status line', (text, head) => /^[\r\n]/.test(text) || /^[\r\n]/.test(head)],
  ['status outside 100…599', (_text, head) => !/^HTTP\/1\.[01] [1-5]\d\d(?: |\r)/.test(head)],
  ['another protocol or version', (_text, head) => !/^HTTP\/1\.[01] /.test(head)],
  ['unsolicited 101', (_text, head) => /^HTTP\/1\.[01] 101/.test(head)],
  [
    'Transfer-Encoding in HTTP/1.0',
    (_text, head) => /^HTTP\/1\.0/.test(head) && /^transfer-encoding/im.test(head),
  ],
  [
    'Transfer-Encoding other than sole chunked',
    (_text, head) => {
      const all = [...head.matchAll(/^transfer-encoding:[ \t]*(.*?)[ \t]*\r$/gim)].map((found) => found[1]);
      return all.length > 1 || all.some((value) => value?.toLowerCase() !== 'chunked');
    },
  ],
];

/** We accept, node refuses: all of it is dropped and never passed on. */
const LAXER: Decision[] = [
  ['chunk extensions of any printable text', (text) => /^[0-9a-f]+;[^\r\n]*\r$/im.test(text)],
  [
    'framing names in trailers, which are dropped',
    (text) => /\r\n(?:content-length|transfer-encoding)/i.test(text),
  ],
];

let port = 0;
let next: { segments: Buffer[] } = { segments: [] };
const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.once('data', () => void writeSegments());
  async function writeSegments(): Promise<void> {
    for (const segment of next.segments) {
      if (!socket.destroyed) socket.write(segment);
      await new Promise(setImmediate);
    }
    socket.end();
  }
});
before(async () => {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  port = (server.address() as AddressInfo).port;
});
after(() => {
  server.close();
});

function askNode(method: string): Promise<NodeOutcome> {
  const outcome: NodeOutcome = {
    ok: false,
    upgraded: false,
    status: null,
    headers: [],
    body: '',
    trailers: [],
    interims: [],
    error: '',
  };
  return new Promise((resolve) => {
    const asked = request({ port, host: '127.0.0.1', method, agent: false, maxHeaderSize: MAX_HEADER_BYTES });
    const failed = (error: NodeJS.ErrnoException): void => {
      outcome.error ||= error.code ?? '';
    };
    // Bytes behind a response are an error that comes before the body was handed over.
    asked.on('close', () => setImmediate(resolve, outcome));
    asked.on('information', (info) => outcome.interims.push(info.statusCode));
    asked.on('upgrade', (_answer, socket) => {
      outcome.upgraded = true;
      socket.destroy();
    });
    asked.on('error', failed);
    asked.on('response', (answer) => {
      outcome.status = answer.statusCode ?? null;
      outcome.headers = answer.rawHeaders;
      answer.on('data', (data: Buffer) => {
        outcome.body += data.toString('latin1');
      });
      answer.on('end', () => {
        outcome.ok = answer.complete;
        outcome.trailers = answer.rawTrailers;
      });
      answer.on('error', failed);
    });
    asked.end();
  });
}

const HOP_BY_HOP = /^(?:connection|keep-alive|transfer-encoding|content-length|trailer|upgrade|te)$/i;

function passing(headers: string[], allowed: (name: string) => boolean): string[] {
  return headers.filter((_, i) => allowed(headers[i - (i % 2)] ?? ''));
}

function decided(decisions: Decision[], text: string): string | undefined {
  return decisions.find(([, applies]) => applies(text, finalHead(text)))?.[0];
}

function segmentsOf(whole: Buffer, cuts: number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => Math.floor(cut * whole.length)).sort((a, b) => a - b), whole.length];
  return at.slice(1).map((end, i) => whole.subarray(at[i], end));
}

function compare(ours: Outcome, node: NodeOutcome, text: string): string {
  const shown = JSON.stringify({ text, ours, node });
  if (ours.complete && !node.ok) {
    const name = decided(LAXER, text);
    assert.ok(name !== undefined, `we accept what node refuses: ${shown}`);
    return name;
  }
  if (!ours.complete && (node.ok || node.upgraded)) {
    const name = decided(STRICTER, text);
    assert.ok(name !== undefined, `we refuse what node accepts: ${shown}`);
    return name;
  }
  if (!ours.complete) return 'both refuse';
  assert.equal(ours.status, node.status, shown);
  assert.equal(ours.body, node.body, shown);
  assert.deepEqual(ours.interims, node.interims, shown);
  assert.deepEqual(
    ours.headers,
    passing(node.headers, (name) => !HOP_BY_HOP.test(name)),
    shown,
  );
  assert.deepEqual(ours.trailers, passing(node.trailers, isTrailerAllowed), shown);
  return 'both accept';
}

test("the parser agrees with node's client on generated responses, split at random places", async (t) => {
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(example, async ({ text, method, cuts }) => {
      const whole = Buffer.from(text, 'latin1');
      const segments = segmentsOf(whole, cuts);
      const ours = parseSegments(segments, method, true);
      assert.deepEqual(parseSegments([whole], method, true).complete, ours.complete, JSON.stringify(text));
      next = { segments };
      const verdict = compare(ours, await askNode(method), text);
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
    }),
    { numRuns: RUNS, endOnFailure: false },
  );
  t.diagnostic(JSON.stringify(Object.fromEntries(seen)));
  // A generator that produces only one kind proves little.
  for (const kind of ['both accept', 'both refuse']) assert.ok((seen.get(kind) ?? 0) > RUNS / 20, kind);
});
