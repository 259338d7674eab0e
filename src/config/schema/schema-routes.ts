/** The `routes` and `rateLimit` blocks of the file. */
import { z } from 'zod';
import { DEFAULT_NAME, UNMATCHED_ROUTE } from '../../contract/settings.ts';
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
  saying,
  text,
} from './fields.ts';
import { parseKeyHeader } from './key-header.ts';
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
    meaning: 'Methods of the route; others go on to the next one. `GET` does not stand for `HEAD`.',
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

const policyNameSchema = text({
  type: 'name',
  meaning: '',
  range: '',
  sentence: NAME_SENTENCE,
  parse: parseName,
});

const policiesSchema = z
  .union([policyNameSchema, z.array(policyNameSchema)], saying(`${NAME_SENTENCE}, or a list of such names`))
  .refine((names) => names.length > 0, 'needs at least one policy')
  .prefault(DEFAULT_NAME)
  .register(fieldInfo, {
    type: 'name or list of names',
    meaning: 'The policy, one of `rateLimit.policies`; a list (since 0.3) is charged together or not at all.',
    range: '',
    since: FIRST_VERSION,
  });

const routeLimitSchema = z
  .union(
    [
      z.literal('off'),
      block(
        {
          policy: policiesSchema,
          cost: integer({
            meaning:
              'Tokens that one request takes from each policy; at most the capacity. Above 1 since 0.3.',
            min: 1,
            max: MAX_COST,
            fallback: 1,
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
      meaning:
        'While the store is away: every worker keeps its share of the limit (`local`), lets pass (`allow`) or answers 503 (`deny`). The last two since 0.3.',
      values: ['local', 'allow', 'deny'],
      fallback: 'local',
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
        apiKeyHeader: text({
          type: 'field name',
          since: '0.3',
          meaning:
            'Header field with the API key of a client. A key that does not verify is ignored and counted; the field goes on to the backend. Empty: callers are told apart by their addresses alone.',
          range: '',
          sentence: 'must be text',
          parse: parseKeyHeader,
        })
          .nullable()
          .prefault('x-api-key'),
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
      'How callers are told apart.',
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
    leases: flag({
      meaning:
        'Workers take tokens of busy buckets ahead, so that most requests need not wait for the store; false: none is taken before a request wants it. true since 0.3.',
      fallback: true,
    }),
    instances: integer({ meaning: 'Machines that share the store.', min: 1, max: 1000, fallback: 1 }),
    headers: choice({
      meaning:
        'On answers of limited routes: `RateLimit` and `RateLimit-Policy` (`draft`), `X-RateLimit-*` (`legacy`) or neither (`off`). The last two since 0.3.',
      values: ['draft', 'legacy', 'off'],
      fallback: 'draft',
    }),
  },
  'Token buckets, one per client and policy. Absent: nothing is limited.',
);
