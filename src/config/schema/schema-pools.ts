/** The block `pools` of the configuration. */
import { z } from 'zod';
import { type Parsed, parseBackendUrl } from './addresses.ts';
import {
  block,
  choice,
  describe,
  duration,
  integer,
  later,
  list,
  matching,
  NOT_SUPPORTED,
  parsedBy,
  saying,
  text,
} from './fields.ts';

/** Names of pools, routes and policies: they are metric labels, parts of Redis keys and words in header fields. */
export const NAME_SENTENCE = 'must be a name of 1–64 of A–Z a–z 0–9 . _ -';
export const parseName = matching(/^[A-Za-z0-9._-]{1,64}$/, NAME_SENTENCE);

const MAX_WEIGHT = 65_535;
const WEIGHT_SENTENCE = `must be a whole number from 1 to ${MAX_WEIGHT}`;

const weightSchema = z
  .number(saying(WEIGHT_SENTENCE))
  .refine((value) => value !== 0, `0 is ${NOT_SUPPORTED}`)
  .refine((value) => Number.isInteger(value) && value >= 0 && value <= MAX_WEIGHT, WEIGHT_SENTENCE);

const backendSchema = block(
  {
    url: text({
      type: 'URL',
      meaning: 'Where the backend listens; a name is resolved at each connect.',
      range: '`http://host[:port]`, without path',
      sentence: 'must be a URL like http://127.0.0.1:8081',
      parse: parseBackendUrl,
    }),
    weight: describe(weightSchema, {
      type: 'integer',
      meaning: 'Share of the traffic, relative to the others.',
      range: `1 … ${MAX_WEIGHT}`,
      laterValues: ['0'],
    }).prefault(1),
    id: text({
      type: 'name',
      meaning: 'Name in metrics, logs and the admin API, unique in its pool; state survives reloads by it.',
      range: '1–128 of `A–Z a–z 0–9 . _ : @ [ ] -`',
      fallback: 'host:port of the URL',
      parse: matching(/^[\w.:@[\]-]{1,128}$/, 'must be 1–128 of A–Z a–z 0–9 . _ : @ [ ] -'),
    }).optional(),
  },
  'One backend.',
);

const STATUS_SENTENCE = 'must be a status or a range of them from 100 to 599, like 200-399';

function parseStatusRange(raw: string | number): Parsed<{ from: number; to: number }> {
  const [, first, last = first] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(String(raw)) ?? [];
  const [from, to] = [Number(first), Number(last)];
  return from <= to ? { value: { from, to } } : { message: STATUS_SENTENCE };
}

const statusSchema = parsedBy(z.union([z.string(), z.number()], saying(STATUS_SENTENCE)), parseStatusRange);

const healthCheckSchema = block(
  {
    type: choice('http', ['http', 'tcp'], 'What a probe is: a GET, or a connection alone.'),
    path: text({
      type: 'path',
      meaning: 'Target of the GET.',
      range: 'begins with `/`',
      sentence: 'must begin with /',
      parse: matching(
        /^\/[\x21\x22\x24-\x7e]{0,2047}$/,
        'must begin with / and hold visible ASCII without #',
      ),
    }).prefault('/health'),
    interval: duration('2s', ['10ms', '1h'], 'From the start of a probe to the next.'),
    timeout: duration('1s', ['1ms', '1h'], 'Of one probe; at most `interval`.'),
    rise: integer(2, [1, 100], 'Good probes in a row until healthy again.'),
    fall: integer(3, [1, 100], 'Failed probes in a row until down.'),
    expectStatus: describe(statusSchema, {
      type: 'status or range',
      meaning: 'Answers that count as healthy.',
      range: '100 … 599',
    }).prefault('200-399'),
  },
  'Active probes, made by the primary. Absent: backends count as healthy.',
);

const poolTimeoutsSchema = block(
  {
    connect: duration('5s', ['1ms', '1h'], 'To connect to a backend; then another one.'),
    response: duration('60s', ['1ms', '24h'], 'From the request to its response header; then 504.'),
    idle: duration('60s', ['1ms', '24h'], 'Silence inside a response body; then it is cut.'),
  },
  "Deadlines on the backends' side.",
);

const poolSchema = block(
  {
    balance: choice(
      'round_robin',
      ['round_robin', 'least_requests'],
      'How a backend is chosen: smooth weighted turns, or the less loaded of two random ones.',
      ['consistent_hash', 'random', 'ewma'],
    ),
    hashOn: later('What `consistent_hash` looks at'),
    backends: describe(list(backendSchema, { none: 'needs at least one backend' }), {
      type: 'list',
      meaning: 'The servers of the pool.',
      range: 'at least one',
    }),
    healthCheck: healthCheckSchema.optional(),
    outlier: later('Ejection of backends that fail live traffic'),
    panicThresholdPercent: later('Use all backends when too few are healthy', [0]),
    slowStart: later('Ramp of a returning backend', [0, '0s']),
    sticky: later('Sessions by cookie'),
    retry: later('Retries beyond failed connections'),
    timeouts: poolTimeoutsSchema.prefault({}),
    limits: later('Concurrency per backend, and a queue'),
    tls: later('TLS towards the backends'),
    discovery: later('Backends from DNS'),
  },
  'Backends that serve the same thing, by name of the pool.',
);

export const poolsSchema = describe(
  z
    .record(z.string(), poolSchema, saying('must be a mapping'))
    .refine((pools) => Object.keys(pools).length > 0, 'needs at least one pool'),
  {
    type: 'mapping by name',
    meaning: 'Groups of backends. Names: 1–64 of `A–Z a–z 0–9 . _ -`.',
    range: 'at least one',
  },
);
