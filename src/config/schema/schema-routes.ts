/** The blocks `routes` and `rateLimit` of the configuration. */
import { z } from 'zod';
import { DEFAULT_NAME, UNMATCHED_ROUTE } from '../../contract/settings.ts';
import {
  block,
  choice,
  decimal,
  describe,
  flag,
  integer,
  later,
  list,
  matching,
  saying,
  text,
} from './fields.ts';
import { parseKeyHeader } from './key-header.ts';
import { parseHostPattern, parsePathPattern } from './route-patterns.ts';
import { NAME_SENTENCE, parseName } from './schema-pools.ts';

const METHOD_SENTENCE = 'must be a method like GET';

const methodSchema = text({
  type: 'method',
  meaning: '',
  sentence: METHOD_SENTENCE,
  // A method is a token (RFC 9110 §9.1); the standard ones are all upper case.
  parse: matching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}$/, METHOD_SENTENCE),
});

const matchSchema = block(
  {
    host: text({
      type: 'host',
      meaning: 'Name in `Host`, without port; `*.` stands for one or more labels.',
      range: '`www.example.com`, `*.example.com`',
      fallback: 'any',
      parse: parseHostPattern,
    }).optional(),
    path: text({
      type: 'path',
      meaning: 'Ends in `/`: everything below it, else exactly this path. Compared in normal form.',
      range: 'begins with `/`, at most 8,192 characters',
      fallback: 'any',
      laterValues: ['a regular expression (`~…`)'],
      parse: parsePathPattern,
    }).optional(),
    methods: describe(list(methodSchema, { none: 'needs at least one method' }), {
      type: 'list of methods',
      meaning: 'Methods of the route; others go on to the next one. `GET` does not stand for `HEAD`.',
      fallback: 'any',
    }).optional(),
    headers: later('Header fields that must have a value'),
  },
  'What a request must look like; everything given must hold.',
);

const nameSchema = text({ type: 'name', meaning: '', sentence: NAME_SENTENCE, parse: parseName });

const policiesSchema = describe(
  z
    .union([nameSchema, z.array(nameSchema)], saying(`${NAME_SENTENCE}, or a list of such names`))
    .refine((names) => names.length > 0, 'needs at least one policy'),
  {
    type: 'name or list of names',
    meaning: 'The policy, one of `rateLimit.policies`; a list (since 0.3) is charged together or not at all.',
  },
);

const MAX_COST = 1_000_000_000;

const routeLimitSchema = block(
  {
    policy: policiesSchema.prefault(DEFAULT_NAME),
    cost: integer(
      1,
      [1, MAX_COST],
      'Tokens that one request takes from each policy; at most the capacity. Above 1 since 0.3.',
    ),
  },
  '',
);

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
    match: matchSchema.prefault({}),
    pool: text({
      type: 'name',
      meaning: 'The pool that serves it.',
      range: 'one of `pools`',
      sentence: NAME_SENTENCE,
      parse: parseName,
    }),
    split: later('Several pools by weight'),
    mirror: later('A copy of the traffic to another pool'),
    rateLimit: describe(
      z.union(
        [z.literal('off'), routeLimitSchema],
        saying('must be off, or a mapping like { policy: default, cost: 1 }'),
      ),
      {
        type: '`off` or mapping',
        meaning: 'The limit of the route.',
        fallback: 'the policy `default` where it is defined, else no limit',
      },
    ).optional(),
  },
  'One route; the first that matches wins.',
);

export const routesSchema = describe(list(routeSchema), {
  type: 'list',
  meaning: 'Which requests go where.',
  fallback: 'everything to the only pool, as a route named `default`',
}).prefault([]);

const policySchema = block(
  {
    capacity: integer(100, [1, 1_000_000_000], 'Tokens that a full bucket holds.'),
    refillPerSecond: decimal(50, [1e-6, 1e9], 'Tokens that come back per second.'),
    onStoreFailure: choice(
      'local',
      ['local', 'allow', 'deny'],
      'While the store is away: every worker keeps its share of the limit (`local`), lets pass (`allow`) or answers 503 (`deny`). The last two since 0.3.',
    ),
    shadow: flag(false, 'Count and send the header fields, refuse nothing.'),
  },
  'One limit, by name of the policy; `capacity` divided by `refillPerSecond` is at most 30 days.',
);

const identifySchema = block(
  {
    apiKeyHeader: text({
      type: 'field name',
      since: '0.3',
      meaning:
        'Header field with the API key of a client. A key that does not verify is ignored and counted; the field goes on to the backend. Empty: callers are told apart by their addresses alone.',
      parse: parseKeyHeader,
    })
      .nullable()
      .prefault('x-api-key'),
    ipv4Prefix: integer(32, [1, 32], 'Bits of an IPv4 address that make a client.'),
    ipv6Prefix: integer(64, [1, 128], 'Bits of an IPv6 address that make a client.'),
  },
  'How callers are told apart.',
);

export const rateLimitSchema = block(
  {
    enabled: flag(true, 'false turns every limit off.'),
    identify: identifySchema.prefault({}),
    policies: describe(z.record(z.string(), policySchema, saying('must be a mapping')), {
      type: 'mapping by name',
      meaning:
        'The limits that routes name; `default` is for routes that name none, and for clients of their own limits.',
      fallback: '`default` with the values below',
    }).prefault({ [DEFAULT_NAME]: {} }),
    leases: flag(
      true,
      'Workers take tokens of busy buckets ahead, so that most requests need not wait for the store; false: none is taken before a request wants it. true since 0.3.',
    ),
    instances: integer(1, [1, 1000], 'Machines that share the store.'),
    headers: choice(
      'draft',
      ['draft', 'legacy', 'off'],
      'On answers of limited routes: `RateLimit` and `RateLimit-Policy` (`draft`), `X-RateLimit-*` (`legacy`) or neither (`off`). The last two since 0.3.',
    ),
  },
  'Token buckets, one per client and policy. Absent: nothing is limited.',
);
