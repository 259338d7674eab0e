/** The `pools` block of the file. */
import { z } from 'zod';
import { type BackendAddress, type Parsed, parseBackendUrl } from './addresses.ts';
import {
  block,
  choice,
  duration,
  FIRST_VERSION,
  fieldInfo,
  integer,
  later,
  matching,
  NOT_SUPPORTED,
  saying,
  text,
} from './fields.ts';

const LATER = 'later';

/** Names of pools, routes and policies: they are metric labels, parts of Redis keys and words in header fields. */
export const NAME_SENTENCE = 'must be a name of 1–64 of A–Z a–z 0–9 . _ -';
export const parseName = matching(/^[A-Za-z0-9._-]{1,64}$/, NAME_SENTENCE);

const MAX_WEIGHT = 65_535;
const weightSentence = `must be a whole number from 1 to ${MAX_WEIGHT}`;

const backendSchema = block(
  {
    url: text<BackendAddress>({
      type: 'URL',
      meaning: 'Where the backend listens; a name is resolved at each connect.',
      range: '`http://host[:port]`, without path',
      sentence: 'must be a URL like http://127.0.0.1:8081',
      parse: parseBackendUrl,
    }),
    weight: z
      .number(saying(weightSentence))
      .refine((value) => value !== 0, `0 is ${NOT_SUPPORTED}`)
      .refine((value) => Number.isInteger(value) && value >= 0 && value <= MAX_WEIGHT, weightSentence)
      .prefault(1)
      .register(fieldInfo, {
        type: 'integer',
        meaning: 'Share of the traffic, relative to the others.',
        range: `1 … ${MAX_WEIGHT}`,
        since: FIRST_VERSION,
        laterValues: { '0': LATER },
      }),
    id: text({
      type: 'name',
      meaning: 'Name in metrics, logs and the admin API, unique in its pool; state survives reloads by it.',
      range: '1–128 of `A–Z a–z 0–9 . _ : @ [ ] -`',
      fallback: 'host:port of the URL',
      sentence: 'must be text',
      parse: matching(/^[\w.:@[\]-]{1,128}$/, 'must be 1–128 of A–Z a–z 0–9 . _ : @ [ ] -'),
    }).optional(),
  },
  'One backend.',
);

interface StatusRange {
  from: number;
  to: number;
}

const STATUS_SENTENCE = 'must be a status or a range of them from 100 to 599, like 200-399';

function parseStatusRange(raw: string): Parsed<StatusRange> {
  const found = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(raw);
  const from = Number(found?.[1]);
  const to = Number(found?.[2] ?? found?.[1]);
  return found !== null && from <= to ? { value: { from, to } } : { message: STATUS_SENTENCE };
}

const expectStatusSchema = z
  .union([z.string(), z.number()], saying(STATUS_SENTENCE))
  .transform((raw, context): StatusRange => {
    const parsed = parseStatusRange(String(raw));
    if ('value' in parsed) return parsed.value;
    context.addIssue({ code: 'custom', message: parsed.message });
    return z.NEVER;
  })
  .prefault('200-399')
  .register(fieldInfo, {
    type: 'status or range',
    meaning: 'Answers that count as healthy.',
    range: '100 … 599',
    since: FIRST_VERSION,
  });

const healthCheckSchema = block(
  {
    type: choice({
      meaning: 'What a probe is: a GET, or a connection alone.',
      values: ['http', 'tcp'],
      fallback: 'http',
    }),
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
    interval: duration({
      meaning: 'From the start of a probe to the next.',
      min: '10ms',
      max: '1h',
      fallback: '2s',
    }),
    timeout: duration({
      meaning: 'Of one probe; at most `interval`.',
      min: '1ms',
      max: '1h',
      fallback: '1s',
    }),
    rise: integer({ meaning: 'Good probes in a row until healthy again.', min: 1, max: 100, fallback: 2 }),
    fall: integer({ meaning: 'Failed probes in a row until down.', min: 1, max: 100, fallback: 3 }),
    expectStatus: expectStatusSchema,
  },
  'Active probes, made by the primary. Absent: backends count as healthy.',
);

const poolTimeoutsSchema = block(
  {
    connect: duration({
      meaning: 'To connect to a backend; then another one.',
      min: '1ms',
      max: '1h',
      fallback: '5s',
    }),
    response: duration({
      meaning: 'From the request to its response header; then 504.',
      min: '1ms',
      max: '24h',
      fallback: '60s',
    }),
    idle: duration({
      meaning: 'Silence inside a response body; then it is cut.',
      min: '1ms',
      max: '24h',
      fallback: '60s',
    }),
  },
  "Deadlines on the backends' side.",
).prefault({});

const poolSchema = block(
  {
    balance: choice({
      meaning: 'How a backend is chosen: smooth weighted turns, or the less loaded of two random ones.',
      values: ['round_robin', 'least_requests'],
      fallback: 'round_robin',
      later: { consistent_hash: LATER, random: LATER, ewma: LATER },
    }),
    hashOn: later({ since: LATER, meaning: 'What `consistent_hash` looks at' }),
    backends: z
      .array(backendSchema, saying('must be a list'))
      .min(1, 'needs at least one backend')
      .register(fieldInfo, {
        type: 'list',
        meaning: 'The servers of the pool.',
        range: 'at least one',
        since: FIRST_VERSION,
      }),
    healthCheck: healthCheckSchema.optional(),
    outlier: later({ since: LATER, meaning: 'Ejection of backends that fail live traffic' }),
    panicThresholdPercent: later({
      since: LATER,
      meaning: 'Use all backends when too few are healthy',
      accepts: [0],
    }),
    slowStart: later({ since: LATER, meaning: 'Ramp of a returning backend', accepts: [0, '0s'] }),
    sticky: later({ since: LATER, meaning: 'Sessions by cookie' }),
    retry: later({ since: LATER, meaning: 'Retries beyond failed connections' }),
    timeouts: poolTimeoutsSchema,
    limits: later({ since: LATER, meaning: 'Concurrency per backend, and a queue' }),
    tls: later({ since: LATER, meaning: 'TLS towards the backends' }),
    discovery: later({ since: LATER, meaning: 'Backends from DNS' }),
  },
  'Backends that serve the same thing, by name of the pool.',
);

export const poolsSchema = z
  .record(z.string(), poolSchema, saying('must be a mapping'))
  .refine((pools) => Object.keys(pools).length > 0, 'needs at least one pool')
  .register(fieldInfo, {
    type: 'mapping by name',
    meaning: 'Groups of backends. Names: 1–64 of `A–Z a–z 0–9 . _ -`.',
    range: 'at least one',
    since: FIRST_VERSION,
  });
