/** The `routes` and `rateLimit` blocks of the file (contract §2, §9). */
import { z } from 'zod';
import { DEFAULT_NAME, UNMATCHED_ROUTE } from '../contract/settings.ts';
import {
  block,
  choice,
  decimal,
  FIRST_VERSION,
  fieldInfo,
  flag,
  integer,
  later,
  matching,
  NOT_SUPPORTED,
  saying,
  text,
} from './fields.ts';
import { parseHostPattern, parsePathPattern } from './route-patterns.ts';
import { NAME_SENTENCE, parseName } from './schema-pools.ts';

const LATER = 'later';
const METHOD_SENTENCE = 'must be a method like GET';

const methodsSchema = z
  .array(
    text({
      type: 'method',
      meaning: '',
      range: '',
      sentence: METHOD_SENTENCE,
      // A method is a token (RFC 9110 §9.1); the standard ones are all upper case.
      parse: matching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}$/, METHOD_SENTENCE),
    }),
    saying('must be a list'),
  )
  .min(1, 'needs at least one method')
  .optional()
  .register(fieldInfo, {
    type: 'list of methods',
    meaning: 'Methods of the route; others go on to the next one.',
    range: '',
    fallback: 'any',
    since: FIRST_VERSION,
  });

const matchSchema = block(
  {
    host: text({
      type: 'host',
      meaning: 'Name in `Host`, without port; `*.` stands for one or more labels.',
      range: '`www.example.com`, `*.example.com`',
      fallback: 'any',
      sentence: 'must be text',
      parse: parseHostPattern,
    }).optional(),
    path: text({
      type: 'path',
      meaning: 'Ends in `/`: everything below it, else exactly this path. Compared in normal form.',
      range: 'begins with `/`',
      fallback: 'any',
      laterValues: { 'a regular expression (`~…`)': LATER },
      sentence: 'must be text',
      parse: parsePathPattern,
    }).optional(),
    methods: methodsSchema,
    headers: later({ since: LATER, meaning: 'Header fields that must have a value' }),
  },
  'What a request must look like; everything given must hold.',
).prefault({});

const MAX_COST = 1_000_000_000;

/** Lists of policies are a later version's; told apart from a plain mistake. */
const policyNameSchema = z
  .unknown()
  .transform((raw, context): string => {
    const parsed = typeof raw === 'string' ? parseName(raw) : { message: NAME_SENTENCE };
    if ('value' in parsed) return parsed.value;
    const message = Array.isArray(raw) ? `a list of policies is ${NOT_SUPPORTED}` : parsed.message;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  })
  .prefault(DEFAULT_NAME)
  .register(fieldInfo, {
    type: 'name',
    meaning: 'The policy, one of `rateLimit.policies`.',
    range: '',
    since: FIRST_VERSION,
    laterValues: { 'a list of names': '0.3' },
  });

const routeLimitSchema = z
  .union(
    [
      z.literal('off'),
      block(
        {
          policy: policyNameSchema,
          cost: integer({
            meaning: 'Tokens of one request.',
            min: 1,
            max: MAX_COST,
            fallback: 1,
            range: '1',
            laterValues: { 'above 1': '0.3' },
          }),
        },
        '',
      ),
    ],
    saying('must be off, or a mapping like { policy: default, cost: 1 }'),
  )
  .optional()
  .register(fieldInfo, {
    type: '`off` or mapping',
    meaning: 'The limit of the route.',
    range: '',
    fallback: 'the policy `default` where it is defined, else no limit',
    since: FIRST_VERSION,
  });

const routeSchema = block(
  {
    name: text({
      type: 'name',
      meaning: 'Label in metrics and logs; unique.',
      range: '1–64 of `A–Z a–z 0–9 . _ -`',
      sentence: NAME_SENTENCE,
      parse: (raw) =>
        raw === UNMATCHED_ROUTE ? { message: `${UNMATCHED_ROUTE} is reserved` } : parseName(raw),
    }),
    match: matchSchema,
    pool: text({
      type: 'name',
      meaning: 'The pool that serves it.',
      range: 'one of `pools`',
      sentence: NAME_SENTENCE,
      parse: parseName,
    }),
    split: later({ since: LATER, meaning: 'Several pools by weight' }),
    mirror: later({ since: LATER, meaning: 'A copy of the traffic to another pool' }),
    rateLimit: routeLimitSchema,
  },
  'One route; the first that matches wins.',
);

export const routesSchema = z.array(routeSchema, saying('must be a list')).prefault([]).register(fieldInfo, {
  type: 'list',
  meaning: 'Which requests go where.',
  range: '',
  fallback: 'everything to the only pool, as a route named `default`',
  since: FIRST_VERSION,
});

const policySchema = block(
  {
    capacity: integer({
      meaning: 'Tokens that a full bucket holds.',
      min: 1,
      max: 1_000_000_000,
      fallback: 100,
    }),
    refillPerSecond: decimal({
      meaning: 'Tokens that come back per second.',
      min: 1e-6,
      max: 1e9,
      fallback: 50,
    }),
    onStoreFailure: choice({
      meaning: "While the store is away: this machine's workers share the limit among themselves.",
      values: ['local'],
      fallback: 'local',
      later: { allow: '0.3', deny: '0.3' },
    }),
    shadow: flag({ meaning: 'Count and send the header fields, refuse nothing.', fallback: false }),
  },
  'One limit, by name of the policy; `capacity` divided by `refillPerSecond` is at most 30 days.',
);

export const rateLimitSchema = block(
  {
    enabled: flag({ meaning: 'false turns every limit off.', fallback: true }),
    identify: block(
      {
        apiKeyHeader: later({ since: '0.3', meaning: "Header field with a client's API key" }),
        ipv4Prefix: integer({
          meaning: 'Bits of an IPv4 address that make a client.',
          min: 1,
          max: 32,
          fallback: 32,
        }),
        ipv6Prefix: integer({
          meaning: 'Bits of an IPv6 address that make a client.',
          min: 1,
          max: 128,
          fallback: 64,
        }),
      },
      'How unknown callers are told apart.',
    ).prefault({}),
    policies: z
      .record(z.string(), policySchema, saying('must be a mapping'))
      .prefault({ [DEFAULT_NAME]: {} })
      .register(fieldInfo, {
        type: 'mapping by name',
        meaning:
          'The limits that routes name; `default` is for routes that name none, and for clients of their own limits.',
        range: '',
        fallback: '`default` with the values below',
        since: FIRST_VERSION,
      }),
    leases: later({ since: '0.3', meaning: 'Tokens taken ahead by workers', accepts: [false] }),
    instances: integer({ meaning: 'Machines that share the store.', min: 1, max: 1000, fallback: 1 }),
    headers: choice({
      meaning: '`RateLimit` and `RateLimit-Policy` on limited routes.',
      values: ['draft'],
      fallback: 'draft',
      later: { legacy: '0.3', off: '0.3' },
    }),
  },
  'Token buckets, one per client and policy. Absent: nothing is limited.',
);
