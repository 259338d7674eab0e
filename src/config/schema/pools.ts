/** The block `pools` of the configuration. */
import { z } from 'zod';
import { isHostName, type Parsed, parseBackendUrl } from './addresses.ts';
import * as Key from './fields.ts';

const STATUS_MESSAGE = 'must be a status or a range of them from 100 to 599, like 200-399';

function parseStatusRange(raw: string | number): Parsed<{ from: number; to: number }> {
  const [, first, last = first] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(String(raw)) ?? [];
  const [from, to] = [Number(first), Number(last)];
  return from <= to ? { value: { from, to } } : { message: STATUS_MESSAGE };
}

const statusText = z.union([z.string(), z.number()], Key.saying(STATUS_MESSAGE));

const RETRIED_MESSAGE = 'must be a status from 400 to 599';
const retriedStatus = z
  .number(Key.saying(RETRIED_MESSAGE))
  .refine((status) => Number.isInteger(status) && status >= 400 && status <= 599, RETRIED_MESSAGE);

const PROBE_PATH = /^\/[\x21\x22\x24-\x7e]{0,2047}$/;

function parseServerName(raw: string): Parsed<string> {
  return isHostName(raw) ? { value: raw.toLowerCase() } : { message: 'must be a host name' };
}

const poolSchema = Key.block('Backends that serve the same thing, by name of the pool.', {
  balance: Key.choice(
    ['round_robin', 'least_requests'],
    'How a backend is chosen: in turn by weight, or the one with fewer requests of two random ones.',
    ['consistent_hash', 'random', 'ewma'],
  ),
  hashOn: Key.later('What `consistent_hash` looks at'),
  backends: Key.list(
    Key.block('One backend.', {
      url: Key.text(
        'URL',
        'Where the backend listens; a name is resolved at each connect.',
        parseBackendUrl,
        {
          range: '`http://host[:port]` or, since 0.6, `https://host[:port]`; without path',
          notText: 'must be a URL like http://127.0.0.1:8081',
        },
      ),
      weight: Key.integer(
        1,
        [0, 65_535],
        'Share of the traffic, relative to the other backends. 0 drains: the backend takes no new requests and is still probed.',
      ),
      id: Key.text(
        'name',
        'Name in metrics, logs and the admin API, unique in its pool; a reload keeps the state of a backend by it.',
        Key.matching(/^[\w.:@[\]-]{1,128}$/, 'must be 1–128 of A–Z a–z 0–9 . _ : @ [ ] -'),
        { range: '1–128 of `A–Z a–z 0–9 . _ : @ [ ] -`', fallback: 'host:port of the URL' },
      ).optional(),
      backup: Key.flag(false, '`true`: takes requests only while no other backend of the pool can.', '0.7'),
    }),
    {
      type: 'list',
      meaning: 'The servers of the pool.',
      range: 'at least one',
      none: 'needs at least one backend',
    },
  ),
  healthCheck: Key.block('Probes, made by the primary. Absent: all backends count as up.', {
    type: Key.choice(
      ['http', 'tcp', 'grpc'],
      'What a probe is: a request (of HTTP/2 where `protocol` is h2), only a connection, or a call of `grpc.health.v1.Health/Check`.',
    ),
    service: Key.text(
      'name',
      'The service that a gRPC probe asks for; empty: the server as a whole.',
      Key.matching(/^[\w./-]{0,127}$/, 'must be up to 127 of A–Z a–z 0–9 _ . / -'),
      { range: 'up to 127 of `A–Z a–z 0–9 _ . / -`', since: '0.6' },
    ).prefault(''),
    host: Key.textOrNone(
      'host',
      'Value of `Host` (`:authority` over HTTP/2) in a probe. It changes neither the address nor the name in TLS, which `tls.serverName` does.',
      Key.matching(/^[\w.:[\]-]{1,255}$/, 'must be a host name or an address, with or without a port'),
      { fallback: 'the address that is probed', since: '0.7' },
    ),
    port: Key.integer(
      0,
      [0, 65_535],
      'Port of the backend that is probed, of any type. 0: that of its URL.',
      '0.7',
    ),
    method: Key.choice(
      ['GET', 'HEAD', 'OPTIONS', 'POST'],
      'Method of a probe; a POST has an empty body.',
      [],
      '0.7',
    ),
    headers: Key.byName(
      Key.text(
        'text',
        'Value of the field.',
        Key.matching(/^[\t\x20-\x7e]{0,4096}$/, 'must be at most 4096 characters of visible ASCII'),
      ),
      {
        meaning: 'Further header fields of a probe, by name. `GET /api/v1/config` does not show the values.',
        range: 'at most 32',
        fallback: 'none',
        since: '0.7',
      },
    ).prefault({}),
    expectBody: Key.textOrNone(
      'text',
      'Text that a good answer must hold within its first 64 KiB, as it was sent: compressed answers are not read.',
      Key.matching(/^[\s\S]{1,1024}$/, 'must be at most 1024 characters'),
      { fallback: 'none', since: '0.7' },
    ),
    path: Key.text(
      'path',
      'Target of the request.',
      Key.matching(PROBE_PATH, 'must begin with / and hold visible ASCII without #'),
      { range: 'begins with `/`', notText: 'must begin with /' },
    ).prefault('/health'),
    interval: Key.duration('2s', ['10ms', '1h'], 'From the start of a probe to the next.'),
    timeout: Key.duration('1s', ['1ms', '1h'], 'For one probe; at most `interval`.'),
    rise: Key.integer(2, [1, 100], 'Good probes in a row that bring a backend up.'),
    fall: Key.integer(3, [1, 100], 'Bad probes in a row that take it down.'),
    expectStatus: Key.described(Key.parsedBy(statusText, parseStatusRange), {
      type: 'status or range',
      meaning: 'Statuses of a good probe.',
      range: '100 … 599',
    }).prefault('200-399'),
  }).optional(),
  timeouts: Key.block('Deadlines on the side of the backends.', {
    connect: Key.duration('5s', ['1ms', '1h'], 'To connect to a backend; then another backend is tried.'),
    response: Key.duration(
      '60s',
      ['1ms', '24h'],
      'From the request to the head of the answer, retries included; then 504.',
    ),
    idle: Key.duration('60s', ['1ms', '24h'], 'Silence inside the body of an answer; then it is cut.'),
  }).prefault({}),
  outlier: Key.block(
    'Ejection of backends that fail live traffic, whatever their probes say ([more](health.md#ejections)). Absent: none is ejected.',
    {
      consecutiveErrors: Key.integer(
        5,
        [1, 100],
        'Errors in a row, in all workers together: statuses of 500 and above, failed connections, resets, time-outs.',
      ),
      baseEjection: Key.duration('30s', ['10ms', '1h'], 'The first ejection; the nth takes n times as long.'),
      maxEjection: Key.duration('300s', ['10ms', '24h'], 'The longest ejection; at least `baseEjection`.'),
      maxEjectedPercent: Key.integer(
        50,
        [0, 100],
        'Part of the backends that may be ejected at the same time: one at least, but never the last one that is up. 0: none.',
      ),
    },
    '0.7',
  ).optional(),
  panicThresholdPercent: Key.integer(
    50,
    [0, 100],
    'While a smaller part of the backends is healthy, those that are down are used too ([more](health.md#panic)). 0: never.',
    '0.7',
  ),
  slowStart: Key.duration(
    '0s',
    ['0s', '1h'],
    'A backend that recovers, is enabled again or is new rises from 10 % to all of its weight in this time; not at the start of Sluice. 0: at once.',
    '0.7',
  ),
  sticky: Key.later('Sessions by cookie'),
  adaptive: Key.choice(
    ['off', 'latency'],
    '`latency` lowers `limits.maxConcurrentPerBackend` to what each backend can do without a queue, as its latency shows ([more](retries.md#limits-that-follow-latency)).',
    [],
    '0.7',
  ),
  protocol: Key.choice(
    ['http1', 'h2'],
    'How Sluice talks to the backends; `h2` is HTTP/2, by ALPN over TLS, else by prior knowledge.',
    [],
    '0.6',
  ),
  proxyProtocol: Key.choice(
    ['off', 'v1', 'v2'],
    'Version of the PROXY header that tells backends the address of the client, before TLS. Each request then has a connection of its own ([more](protocols.md#proxy-protocol-to-backends)).',
    [],
    '0.6',
  ),
  retry: Key.block(
    'Further attempts at requests that failed ([more](retries.md)).',
    {
      attempts: Key.integer(
        1,
        [0, 10],
        'Further attempts after a reset, a time-out or a status of `onStatus`. A connection that failed before anything was sent is replaced up to twice whatever this says.',
      ),
      budgetPercent: Key.decimal(
        20,
        [0, 100],
        'Retries in flight at most, in percent of the requests of the pool that are in progress; per machine. Failed connections, on which nothing was sent, are not counted.',
      ),
      minConcurrent: Key.integer(
        3,
        [1, 10_000],
        'Retries in flight that are allowed however few requests are in progress; per machine, each worker at least one.',
      ),
      nonIdempotent: Key.flag(
        false,
        'Repeat requests of any method, POST too; backends may then do twice what was asked once.',
      ),
      onStatus: Key.list(retriedStatus, {
        type: 'list of statuses',
        meaning: 'Statuses of a backend that are retried, such as 502, 503, 504 or 429.',
        range: '400 … 599',
        fallback: 'empty',
      }).prefault([]),
      perTry: Key.duration(
        '0',
        ['0', '24h'],
        'From one attempt to the head of its answer; 0: `timeouts.response`.',
      ),
    },
    '0.7',
  ).prefault({}),
  limits: Key.block(
    'Requests at the same time; all numbers per machine, each worker has its share ([more](retries.md#limits-and-the-queue)).',
    {
      maxConcurrentPerBackend: Key.integer(
        1024,
        [1, 1_000_000],
        'Requests at one backend at the same time, without open tunnels.',
      ),
      queue: Key.integer(
        1024,
        [0, 1_000_000],
        'Requests of the pool that wait while all its backends have as many as they may; a further one is 503.',
      ),
      queueTimeout: Key.duration('1s', ['0', '1h'], 'Longest wait there; then 503.'),
    },
    '0.7',
  ).prefault({}),
  tls: Key.block(
    'TLS towards backends with `https://` ([more](tls.md#tls-to-backends)).',
    {
      ca: Key.pemPathOrNone(
        'Authorities that may have signed the certificates of the backends.',
        'those that Node.js trusts',
      ),
      cert: Key.pemPathOrNone("Sluice's own certificate, for backends that ask for one; with `key`."),
      key: Key.pemPathOrNone('Its private key, not encrypted.'),
      serverName: Key.textOrNone(
        'host name',
        'Name to ask for (SNI), which the certificate must be for.',
        parseServerName,
        { fallback: 'the host of the URL' },
      ),
      verify: Key.flag(
        true,
        '`false` accepts any certificate: whoever is on the way can read and change everything.',
      ),
    },
    '0.6',
  ).optional(),
  discovery: Key.later('Backends from DNS'),
});

export const poolsSchema = Key.byName(poolSchema, {
  meaning: 'Groups of backends. Names: 1–64 of `A–Z a–z 0–9 . _ -`.',
  range: 'at least one',
  fallback: '**required**, except where every route redirects',
  none: 'needs at least one pool',
});
