/** Heads of HTTP/2 requests: what each fact comes from, also where the fields are those of the request before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHUNKED_BODY, NO_BODY, RequestHead } from '../../../../src/contract/request-head.ts';
import { StreamHeads } from '../../../../src/worker/inbound/h2/stream-head.ts';
import { collected } from '../../../support/collected.ts';

const PSEUDO = [':method', 'GET', ':scheme', 'http', ':authority', 'a.example', ':path', '/x?y'];

function read(fields: string[], { hasEnded = true, pseudo = PSEUDO } = {}): RequestHead {
  return new StreamHeads().read([...pseudo, ...fields], hasEnded);
}

/** Facts of a connection of HTTP/1.1, which no head over HTTP/2 has. */
const OF_HTTP1 = ['closes', 'keepsAlive', 'namesFraming', 'named', 'wantsUpgrade'];

const RICH: [fields: string[], pseudo?: string[]][] = [
  [['te', 'trailers', 'expect', '100-continue', 'user-agent', 'u/1', 'x-own', 'v']],
  [
    [
      'x-forwarded-for',
      '192.0.2.1',
      'x-forwarded-proto',
      'https',
      'x-forwarded-host',
      'h',
      'forwarded',
      'for=a',
    ],
  ],
  [['x-request-id', 'r1', 'traceparent', '00-1', 'tracestate', 'k=v', 'content-length', '5']],
  [['expect', 'other', 'content-length', 'x', 'connection', 'close']],
  [
    ['x-own', 'v'],
    [':method', 'CONNECT', ...PSEUDO.slice(2), ':protocol', 'websocket'],
  ],
];

test('a head whose fields are those of the request before has all of its facts', () => {
  const known = new RequestHead();
  const seen = new Set<string>(OF_HTTP1);
  for (const [fields, pseudo] of RICH) {
    const heads = new StreamHeads();
    const all = [...(pseudo ?? PSEUDO), ...fields];
    const [first, second] = [heads.read(all, false), heads.read(all, false)];
    assert.notEqual(first, second);
    const { lines, ...facts } = second;
    assert.deepEqual(facts, (({ lines: _, ...rest }) => rest)(first));
    for (const [name, value] of Object.entries({ lines, ...facts })) {
      if (value !== known[name as keyof RequestHead]) seen.add(name);
    }
  }
  assert.deepEqual(
    Object.keys(known).filter((name) => !seen.has(name)),
    [],
    'facts that a kept head has lost, or that no head here has',
  );
});

test('what one request is told changes nothing for the next with the same fields', () => {
  const heads = new StreamHeads();
  const one = heads.read([...PSEUDO, 'x-own', 'v'], false);
  const { lines } = one;
  one.lines += 'x-added: 1\r\n';
  one.host = 'other';
  const two = heads.read([':method', 'POST', ...PSEUDO.slice(2, 6), ':path', '/z', 'x-own', 'v'], true);
  assert.deepEqual(
    [two.lines, two.host, two.method, two.target, two.bodyLength],
    [lines, 'a.example', 'POST', '/z', NO_BODY],
  );
  const three = heads.read([...PSEUDO, 'x-own', 'w'], false);
  assert.deepEqual([three.lines, three.bodyLength], ['x-own: w\r\n', CHUNKED_BODY]);
});

test('a large head is not kept', async () => {
  const heads = new StreamHeads();
  await collected('the head', new WeakRef(heads.read([...PSEUDO, 'x-large', 'x'.repeat(14_000)], true)));
  assert.equal(heads.read([...PSEUDO, 'x-own', 'v'], true).lines, 'x-own: v\r\n');
});

test('empty cookies leave no blanks in the field that the others become', () => {
  const head = read(['cookie', '', 'cookie', 'a=1', 'cookie', '', 'cookie', 'b=2', 'cookie', '']);
  assert.equal(head.lines, 'cookie: a=1; b=2\r\n');
  assert.equal(read(['cookie', '']).lines, '');
});

test('the authority counts as Host, cookies become one field, and sizes are those of HTTP/1.1', () => {
  const head = read(['cookie', 'a=1', 'x', 'y', 'cookie', 'b=2']);
  assert.deepEqual([head.host, head.hostCount, head.lineCount], ['a.example', 1, 3]);
  assert.equal(head.lines, 'x: y\r\ncookie: a=1; b=2\r\n');
  assert.equal(head.headerBytes, 'Host: a.example\r\nx: y\r\ncookie: a=1; b=2\r\n'.length);
});

const MALFORMED: [title: string, fields: string[], pseudo?: string[]][] = [
  ['a field of a connection', ['connection', 'close']],
  ['keep-alive', ['keep-alive', '5']],
  ['proxy-connection', ['proxy-connection', 'x']],
  ['transfer-encoding', ['transfer-encoding', 'chunked']],
  ['upgrade', ['upgrade', 'x']],
  ['a line end in a value', ['x', 'a\r\nb']],
  ['a NUL in a value', ['x', 'a\0b']],
  ['a blank in a name', ['x y', 'a']],
  ['a Host that differs from the authority', ['host', 'other']],
  ['a relative path', [], [...PSEUDO.slice(0, 7), 'x']],
  ['an unknown method', [], [':method', 'NOPE', ...PSEUDO.slice(2)]],
  [
    'an extended CONNECT without a body',
    [],
    [':method', 'CONNECT', ...PSEUDO.slice(2), ':protocol', 'websocket'],
  ],
];

for (const [title, fields, pseudo] of MALFORMED) {
  test(`a head with ${title} is malformed`, () => {
    assert.equal(read(fields, pseudo === undefined ? {} : { pseudo }).isMalformed, true);
  });
}

test('a head with a Host that equals the authority in other case is well-formed', () => {
  assert.equal(read(['host', 'A.Example']).isMalformed, false);
});

test('a length that is none, or comes twice, is bad framing', () => {
  for (const fields of [
    ['content-length', '-1'],
    ['content-length', '1', 'content-length', '1'],
  ]) {
    assert.equal(read(fields, { hasEnded: false }).hasBadFraming, true);
  }
  assert.equal(read(['content-length', '7'], { hasEnded: false }).bodyLength, 7);
});

test('an extended CONNECT becomes a GET with a key of its own', () => {
  const pseudo = [':method', 'CONNECT', ...PSEUDO.slice(2), ':protocol', 'websocket'];
  const head = read(['sec-websocket-key', 'theirs', 'x', 'y'], { pseudo, hasEnded: false });
  assert.deepEqual([head.method, head.upgrade, head.bodyLength], ['GET', 'websocket', NO_BODY]);
  assert.match(head.lines, /^x: y\r\nsec-websocket-key: [\w+/]{22}==\r\n$/);
  assert.equal(head.isMalformed, false);
});
