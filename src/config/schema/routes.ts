/** The blocks `routes` and `rateLimit` of the configuration. */
import { z } from 'zod';
import { DEFAULT_NAME, UNMATCHED_ROUTE } from '../../contract/settings.ts';
import type { Parsed } from './addresses.ts';
import * as Key from './fields.ts';
import { parseHostPattern, parsePathPattern } from './route-patterns.ts';

const METHOD_MESSAGE = 'must be a method like GET';
/** A token (RFC 9110 §9.1). */
const parseMethod = Key.matching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}$/, METHOD_MESSAGE);

const policyName = Key.name('');
const policyNames = z
  .union([policyName, z.array(policyName)], Key.saying(`${Key.NAME_MESSAGE}, or a list of such names`))
  .refine((given) => given.length > 0, 'needs at least one policy');

const routeLimitSchema = Key.block('', {
  policy: Key.described(policyNames, {
    type: 'name or list of names',
    meaning: 'The policy, one of `rateLimit.policies`; a list (since 0.3) is charged together or not at all.',
  }).prefault(DEFAULT_NAME),
  cost: Key.integer(
    1,
    [1, 1_000_000_000],
    'Tokens that one request takes from each policy; at most the capacity. Above 1 since 0.3.',
  ),
});

const REDIRECT_STATUS_MESSAGE = 'must be one of 301, 302, 307, 308';
const REDIRECT =
  'In place of `pool`: sends requests that came without TLS to the same host, path and query at `https://`. Requests over TLS, and those that a trusted proxy says came over it, go on to the next route. The port in `Location` is that of the first address with `tls`; there is none where that is 443, or where the client did not use a port of this file (behind a port mapping).';

export const DEFAULT_PROTOCOLS = ['websocket'];
const PROTOCOL_MESSAGE = 'must be a protocol like websocket';
/** Requests inside such a tunnel would pass by routes, limits and log. */
const CARRIES_HTTP = /^(?:h2|h2c|h3|(?:http|tls)(?:\/.*)?)$/;
const UPGRADE =
  'Protocols to which a request may switch its connection (`Upgrade`); Sluice then carries bytes both ways. A protocol that is not named is ignored, and the request is a plain one. `[]`: none.';

/** A protocol-name, with or without a version (RFC 9110 §7.8). Returns it in lower case. */
function parseProtocol(raw: string): Parsed<string> {
  const protocol = raw.toLowerCase();
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}(?:\/[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64})?$/.test(raw))
    return { message: PROTOCOL_MESSAGE };
  if (CARRIES_HTTP.test(protocol))
    return { message: `must not be ${raw}, which carries HTTP past the limits` };
  return { value: protocol };
}

const PRIORITY =
  'What a worker that is overloaded refuses (503): requests of `low` routes first, then `normal` ones, `critical` ones last.';

const LIMIT_MESSAGE = 'must be off, or a mapping like { policy: default, cost: 1 }';

const routeSchema = Key.block('One route; the first that matches wins.', {
  name: Key.name('Label in metrics and logs; unique.', undefined, (raw) =>
    raw === UNMATCHED_ROUTE ? { message: `${UNMATCHED_ROUTE} is reserved` } : Key.parseName(raw),
  ),
  match: Key.block('What a request must look like: all that is given must match.', {
    host: Key.text(
      'host',
      'Name in `Host`, without port; `*.` stands for one or more labels.',
      parseHostPattern,
      { range: '`www.example.com`, `*.example.com`', fallback: 'any' },
    ).optional(),
    path: Key.text(
      'path',
      'With `/` at the end: everything below it; else exactly this path. Compared in normal form.',
      parsePathPattern,
      { range: 'begins with `/`, at most 8,192 characters', fallback: 'any' },
    ).optional(),
    methods: Key.list(Key.text('method', '', parseMethod, { notText: METHOD_MESSAGE }), {
      type: 'list of methods',
      meaning: 'Methods of the route; others go on to the next route. `GET` does not stand for `HEAD`.',
      fallback: 'any',
      none: 'needs at least one method',
    }).optional(),
    headers: Key.later('Header fields that must have a value'),
  }).prefault({}),
  pool: Key.name('The pool that serves the requests; this or `redirect`.', 'one of `pools`').optional(),
  redirect: Key.block(
    REDIRECT,
    {
      scheme: Key.choice(['https'], 'Where to.'),
      status: Key.described(z.literal([301, 302, 307, 308], Key.saying(REDIRECT_STATUS_MESSAGE)), {
        type: 'status',
        meaning: 'Status of the answer. With 301 and 302 clients may turn a POST into a GET.',
        range: '301, 302, 307, 308',
      }).default(308),
    },
    '0.6',
  ).optional(),
  upgrade: Key.list(Key.text('protocol', '', parseProtocol, { notText: PROTOCOL_MESSAGE }), {
    type: 'list of protocols',
    meaning: UPGRADE,
    range: 'tokens of `Upgrade`; not those that carry HTTP or TLS',
    fallback: '`[websocket]`',
    since: '0.6',
  }).prefault(DEFAULT_PROTOCOLS),
  priority: Key.choice(['normal', 'critical', 'low'], PRIORITY, [], '0.7'),
  split: Key.later('Several pools by weight'),
  mirror: Key.later('A copy of the traffic to another pool'),
  rateLimit: Key.described(z.union([z.literal('off'), routeLimitSchema], Key.saying(LIMIT_MESSAGE)), {
    type: '`off` or mapping',
    meaning: 'The limit of the route.',
    fallback: 'the policy `default` where it is defined, else no limit',
  }).optional(),
});

export const routesSchema = Key.list(routeSchema, {
  type: 'list',
  meaning: 'Which requests go where.',
  fallback: 'everything to the only pool, as a route named `default`',
}).prefault([]);

const policySchema = Key.block(
  'One limit, by name of the policy; `capacity` divided by `refillPerSecond` is at most 30 days.',
  {
    capacity: Key.integer(100, [1, 1_000_000_000], 'Tokens of a full bucket.'),
    refillPerSecond: Key.decimal(50, [1e-6, 1e9], 'Tokens that come back per second.'),
    onStoreFailure: Key.choice(
      ['local', 'allow', 'deny'],
      'While the store is away, every worker keeps its local share of the limit (`local`), lets all requests pass (`allow`) or answers 503 (`deny`). The last two since 0.3.',
    ),
    shadow: Key.flag(false, 'Count and send the header fields, but refuse nothing.'),
  },
);

/** Fields of the connection, framing, routing and tracing, and those that the access log shows. */
const RESERVED_FIELDS = new Set(
  `connection content-length cookie date expect forwarded host http2-settings keep-alive proxy-authenticate
  proxy-authentication-info proxy-authorization proxy-connection te traceparent tracestate trailer
  transfer-encoding upgrade user-agent via x-client-cert-subject x-real-ip x-request-id`.split(/\s+/),
);

/** An API key comes in an end-to-end field that Sluice neither reads nor writes itself. Returns its name in lower case. */
function parseKeyHeader(raw: string): Parsed<string> {
  const name = raw.toLowerCase();
  // A token (RFC 9110 §5.6.2) without `_`: Sluice drops fields with one (B25).
  if (!/^[A-Za-z0-9!#$%&'*+.^`|~-]{1,64}$/.test(raw))
    return { message: 'must be a header field name without _' };
  const isReserved = RESERVED_FIELDS.has(name) || name.startsWith('x-forwarded-');
  return isReserved ? { message: `must not be ${raw}, which has a meaning of its own` } : { value: name };
}

const API_KEY_HEADER =
  'Header field with the API key of a client. A key that does not verify is counted and ignored; the field goes on to the backend. Empty, or without the block `rateLimit`: no key is read, and the address alone tells who a caller is.';

const POLICIES =
  'The limits that routes name; `default` is for routes that name none, and for the own limits of clients.';

export const rateLimitSchema = Key.block(
  'Token buckets, one per caller and policy. Absent: nothing is limited, and no API key is read.',
  {
    enabled: Key.flag(true, 'false turns every limit off.'),
    identify: Key.block('Who a caller is.', {
      apiKeyHeader: Key.textOrNone('field name', API_KEY_HEADER, parseKeyHeader, { since: '0.3' }).prefault(
        'x-api-key',
      ),
      ipv4Prefix: Key.integer(32, [1, 32], 'Bits of an IPv4 address that make a caller.'),
      ipv6Prefix: Key.integer(64, [1, 128], 'Bits of an IPv6 address that make a caller.'),
    }).prefault({}),
    policies: Key.byName(policySchema, {
      meaning: POLICIES,
      fallback: '`default` with the values below',
    }).prefault({ [DEFAULT_NAME]: {} }),
    leases: Key.flag(
      true,
      'Workers take tokens of busy buckets ahead, so that most requests need not wait for the store. false: a token is only taken when a request needs it. true since 0.3.',
    ),
    instances: Key.integer(
      1,
      [1, 1000],
      'The most machines that share the store. Until Redis has answered a machine once, it grants one part in so many of each limit.',
    ),
    headers: Key.choice(
      ['draft', 'legacy', 'off'],
      'Fields in answers of limited routes: `RateLimit` and `RateLimit-Policy` (`draft`), `X-RateLimit-*` (`legacy`) or neither (`off`). The last two since 0.3.',
    ),
  },
);
