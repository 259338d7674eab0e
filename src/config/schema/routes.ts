/** The blocks `routes` and `rateLimit` of the configuration. */
import { z } from 'zod';
import { DEFAULT_NAME, UNMATCHED_ROUTE } from '../../contract/settings.ts';
import * as key from './fields.ts';
import { parseKeyHeader } from './key-header.ts';
import { parseHostPattern, parsePathPattern } from './route-patterns.ts';

const METHOD_MESSAGE = 'must be a method like GET';
/** A token (RFC 9110 §9.1). */
const parseMethod = key.matching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}$/, METHOD_MESSAGE);

const matchSchema = key.block(
  {
    host: key
      .text('host', 'Name in `Host`, without port; `*.` stands for one or more labels.', parseHostPattern, {
        range: '`www.example.com`, `*.example.com`',
        fallback: 'any',
      })
      .optional(),
    path: key
      .text(
        'path',
        'With `/` at the end: everything below it; else exactly this path. Compared in normal form.',
        parsePathPattern,
        { range: 'begins with `/`, at most 8,192 characters', fallback: 'any' },
      )
      .optional(),
    methods: key
      .list(
        key.text('method', '', parseMethod, { notText: METHOD_MESSAGE }),
        {
          type: 'list of methods',
          meaning: 'Methods of the route; others go on to the next route. `GET` does not stand for `HEAD`.',
          fallback: 'any',
        },
        'needs at least one method',
      )
      .optional(),
  },
  'What a request must look like: all that is given must match.',
);

const routeLimitSchema = key.block(
  {
    policy: key
      .names('The policy, one of `rateLimit.policies`; a list (since 0.3) is charged together or not at all.')
      .prefault(DEFAULT_NAME),
    cost: key.integer(
      1,
      [1, 1_000_000_000],
      'Tokens that one request takes from each policy; at most the capacity. Above 1 since 0.3.',
    ),
  },
  '',
);

const LIMIT_MESSAGE = 'must be off, or a mapping like { policy: default, cost: 1 }';

const routeSchema = key.block(
  {
    name: key.name('Label in metrics and logs; unique.', undefined, (raw) =>
      raw === UNMATCHED_ROUTE ? { message: `${UNMATCHED_ROUTE} is reserved` } : key.parseName(raw),
    ),
    match: matchSchema.prefault({}),
    pool: key.name('The pool that serves the requests.', 'one of `pools`'),
    rateLimit: key
      .described(z.union([z.literal('off'), routeLimitSchema], key.saying(LIMIT_MESSAGE)), {
        type: '`off` or mapping',
        meaning: 'The limit of the route.',
        fallback: 'the policy `default` where it is defined, else no limit',
      })
      .optional(),
  },
  'One route; the first that matches wins.',
);

export const routesSchema = key
  .list(routeSchema, {
    type: 'list',
    meaning: 'Which requests go where.',
    fallback: 'everything to the only pool, as a route named `default`',
  })
  .prefault([]);

const policySchema = key.block(
  {
    capacity: key.integer(100, [1, 1_000_000_000], 'Tokens of a full bucket.'),
    refillPerSecond: key.decimal(50, [1e-6, 1e9], 'Tokens that come back per second.'),
    onStoreFailure: key.choice(
      ['local', 'allow', 'deny'],
      'While the store is away, every worker keeps its local share of the limit (`local`), lets all requests pass (`allow`) or answers 503 (`deny`). The last two since 0.3.',
    ),
    shadow: key.flag(false, 'Count and send the header fields, but refuse nothing.'),
  },
  'One limit, by name of the policy; `capacity` divided by `refillPerSecond` is at most 30 days.',
);

const API_KEY_HEADER =
  'Header field with the API key of a client. A key that does not verify is counted and ignored; the field goes on to the backend. Empty: the address alone tells who a caller is.';

const identifySchema = key.block(
  {
    apiKeyHeader: key
      .text('field name', API_KEY_HEADER, parseKeyHeader, { since: '0.3' })
      .nullable()
      .prefault('x-api-key'),
    ipv4Prefix: key.integer(32, [1, 32], 'Bits of an IPv4 address that make a caller.'),
    ipv6Prefix: key.integer(64, [1, 128], 'Bits of an IPv6 address that make a caller.'),
  },
  'Who a caller is.',
);

const POLICIES =
  'The limits that routes name; `default` is for routes that name none, and for the own limits of clients.';

export const rateLimitSchema = key.block(
  {
    enabled: key.flag(true, 'false turns every limit off.'),
    identify: identifySchema.prefault({}),
    policies: key
      .byName(policySchema, { meaning: POLICIES, fallback: '`default` with the values below' })
      .prefault({ [DEFAULT_NAME]: {} }),
    leases: key.flag(
      true,
      'Workers take tokens of busy buckets ahead, so that most requests need not wait for the store. false: a token is only taken when a request needs it. true since 0.3.',
    ),
    instances: key.integer(1, [1, 1000], 'Machines that share the store.'),
    headers: key.choice(
      ['draft', 'legacy', 'off'],
      'Fields in answers of limited routes: `RateLimit` and `RateLimit-Policy` (`draft`), `X-RateLimit-*` (`legacy`) or neither (`off`). The last two since 0.3.',
    ),
  },
  'Token buckets, one per caller and policy. Absent: nothing is limited.',
);
