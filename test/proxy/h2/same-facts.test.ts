/** Generated requests, sent over HTTP/1.1 and over HTTP/2: the backend must see the same, or nothing both times. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../fuzz/random.ts';
import { connectFrames, data, type Fields, headers, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { type CapturedRequest, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const COUNT = 400;
const METHODS = ['GET', 'GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'QUERY', 'FOO', 'get', 'CONNECT'];
const TARGETS = [
  ...[
    '/',
    '/a/b?c=d',
    '/%41',
    '/a//b',
    '/a/../b',
    '/a%2fb',
    '/?',
    '/"<>{}|^`',
    '/a\\b',
    '/a%00b',
    '/\xff',
    '/a#b',
    '*',
  ],
  ...['', 'a', '/a b', '/a\tb', '/\x01'],
];
const HOSTS = ['a', 'A.example', 'a:80', '[::1]:8080', 'a_b', '', 'a/b', 'u@a', 'a b', 'a, b'];
const NAMES = [
  ...[
    'x-a',
    'x-b',
    'cookie',
    'cookie',
    'user-agent',
    'accept',
    'x_under',
    'x-forwarded-for',
    'x-forwarded-proto',
  ],
  ...[
    'x-forwarded-host',
    'forwarded',
    'x-real-ip',
    'x-request-id',
    'traceparent',
    'tracestate',
    'via',
    'date',
    'te',
  ],
  ...[
    'authorization',
    'http2-settings',
    'proxy-authorization',
    'trailer',
    'x-client-cert-subject',
    'expect',
    'x-forwarded-other',
  ],
];
const VALUES = [
  ...['1', 'a b', '"q, r"', '\xe9', '', ',', 'x'.repeat(70), 'trailers', '100-continue', '1.2.3.4, 5.6.7.8'],
  ...['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'https'],
];

interface Case {
  method: string;
  target: string;
  host: string;
  fields: [name: string, value: string][];
  body: string | null;
  hasLength: boolean;
  trailers: [name: string, value: string][];
}

function makeCase(random: Random): Case {
  const field = (): [string, string] => [random.pick(NAMES), random.pick(VALUES)];
  const list = (most: number) => Array.from({ length: random.below(most + 1) }, field);
  const hasLength = random.oneIn(2);
  const body = random.oneIn(2) ? 'b'.repeat(random.below(2_000)) : null;
  const trailers: [string, string][] = [
    ['x-sum', random.pick(VALUES)],
    ['authorization', 'x'],
  ];
  return {
    method: random.oneIn(8) ? random.pick(METHODS) : random.pick(METHODS.slice(0, 8)),
    target: random.oneIn(3) ? random.pick(TARGETS) : '/plain',
    host: random.oneIn(6) ? random.pick(HOSTS) : 'a',
    fields: list(6).filter(([name, value]) => isOfBoth(name, value)),
    body,
    hasLength,
    trailers: body !== null && !hasLength && random.oneIn(3) ? trailers : [],
  };
}

/** HTTP/2 has no other values of these. */
function isOfBoth(name: string, value: string): boolean {
  return (name !== 'te' || value === 'trailers') && (name !== 'expect' || value !== '100-continue');
}

function overHttp1({ method, target, host, fields, body, hasLength, trailers }: Case): string {
  let text = `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\n`;
  for (const [name, value] of fields) text += `${name}: ${value}\r\n`;
  if (body === null) return `${text}connection: close\r\n\r\n`;
  if (hasLength) return `${text}connection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const chunk = body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`;
  const last = trailers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `${text}connection: close\r\ntransfer-encoding: chunked\r\n\r\n${chunk}0\r\n${last}\r\n`;
}

function overHttp2({ method, target, host, fields, body, hasLength, trailers }: Case): Buffer {
  const pseudo: Fields = [
    [':method', method],
    [':scheme', 'http'],
    [':authority', host],
    [':path', target],
  ];
  const length: Fields = hasLength && body !== null ? [['content-length', String(body.length)]] : [];
  const head = headers(1, [...pseudo, ...fields, ...length], { ends: body === null });
  if (body === null) return head;
  if (trailers.length === 0) return Buffer.concat([head, data(1, body, { ends: true })]);
  return Buffer.concat([head, data(1, body), headers(1, trailers)]);
}

/** What must be equal. Cookies are one field in HTTP/1.1 words, without empty ones, and the ids are new each time. */
function factsOf({ method, target, headers: fields, body, trailers }: CapturedRequest): unknown {
  const kept: string[] = [];
  const cookies: string[] = [];
  for (const [name, value] of fields) {
    const lower = name.toLowerCase();
    if (lower === 'cookie') cookies.push(value);
    else if (!['x-request-id', 'traceparent'].includes(lower)) kept.push(`${lower}: ${value}`);
  }
  return {
    method,
    target,
    fields: kept.sort(),
    cookies: cookies.filter((each) => each !== '').join('; '),
    body,
    trailers,
  };
}

for (const trusted of [[], ['127.0.0.0/8']]) {
  test(`generated requests reach the backend as over HTTP/1.1, from ${trusted.length === 0 ? 'a stranger' : 'a trusted proxy'}`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [backend], h2c: true, trustedProxies: trusted });
    const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000);
    let passed = 0;
    for (let i = 0; i < COUNT; i++) {
      const random = new Random(seed + i);
      const one = makeCase(random);
      const about = `FUZZ_SEED=${seed} case ${i}: ${JSON.stringify(one)}`;
      const before = backend.requests.length;
      const raw = await proxy.connect();
      raw.write(overHttp1(one));
      const { status } = await raw.readResponse({ method: one.method });
      raw.close();
      const first = backend.requests.slice(before).map(factsOf);

      const middle = backend.requests.length;
      const client = await connectFrames(proxy.url);
      client.send(overHttp2(one));
      await client.wait(
        `an end of ${about}`,
        ({ type, stream }) => type === TYPES.goaway || (stream === 1 && type !== TYPES.window),
      );
      const [answer] = client.all(TYPES.headers, 1);
      // A stream that is reset is HTTP/2's 400.
      const got = answer === undefined ? 400 : await client.status(1);
      client.close();
      await waitFor('the line', () => proxy.lines.length > 0);
      const second = backend.requests.slice(middle).map(factsOf);
      assert.deepEqual(second, first, about);
      if (!(status === 505 || got === 400)) assert.equal(got, status, about);
      else assert.ok(status >= 400, about);
      if (first.length > 0) passed += 1;
    }
    assert.ok(passed > COUNT / 3, `only ${passed} requests passed`);
  });
}
