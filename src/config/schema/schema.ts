/**
 * The configuration file: keys, defaults, ranges and meanings. docs/configuration.md is generated from here. Pools,
 * routes and limits, and Redis have files of their own.
 */
import type { z } from 'zod';
import { canonicalRange } from '../../contract/addresses.ts';
import { isHostName, type Parsed, parseListenAddress } from './addresses.ts';
import {
  block,
  choice,
  decimal,
  describe,
  duration,
  flag,
  integer,
  integerOrAuto,
  later,
  list,
  matching,
  size,
  text,
} from './fields.ts';
import { poolsSchema } from './schema-pools.ts';
import { redisSchema } from './schema-redis.ts';
import { rateLimitSchema, routesSchema } from './schema-routes.ts';

const listenEntrySchema = block(
  {
    address: text({
      type: 'address',
      meaning:
        'Where to accept HTTP/1.1. Without a host: every IPv4 and IPv6 address. Port 0: any free one. The file of a Unix socket at which nobody listens any more is replaced.',
      range: '`host:port`, `[v6]:port`, `:port`, `unix:/path`',
      sentence: 'must be text like ":8080"',
      parse: parseListenAddress,
    }),
    tls: later('Certificates; serve HTTPS'),
    http2: later('HTTP/2 on this address', [false]),
    proxyProtocol: later('PROXY protocol, versions 1 and 2', [false]),
  },
  'One address to listen at.',
);

function parseAdminAddress(raw: string): Parsed<{ host: string; port: number }> {
  const parsed = parseListenAddress(raw);
  if ('message' in parsed) return parsed;
  if (parsed.value.kind === 'unix') return { message: 'must be host:port, [v6]:port or :port' };
  return { value: { host: parsed.value.host ?? '::', port: parsed.value.port } };
}

const adminHostSchema = text<string>({
  type: 'host name',
  meaning: '',
  parse: (raw) =>
    isHostName(raw) ? { value: raw.toLowerCase() } : { message: 'must be a host name without a port' },
});

const TOKEN = /^[\x21-\x7e]{0,512}$/;

/** adminSchema is the block `admin`; on its own for `sluice clients`. */
export const adminSchema = block(
  {
    address: text({
      type: 'address',
      meaning:
        'Where the admin API, `/livez`, `/readyz` and `/metrics` answer. Other than loopback needs a token.',
      range: '`host:port`, `[v6]:port`, `:port`',
      sentence: 'must be text like 127.0.0.1:9900',
      parse: parseAdminAddress,
    }).prefault('127.0.0.1:9900'),
    token: text({
      type: 'text, secret',
      meaning: 'Bearer token that admin calls must carry. Empty: none is asked for.',
      range: 'at most 512 visible ASCII characters; at least 16 where the address is not loopback',
      fallback: 'empty',
      parse: matching(TOKEN, 'must be at most 512 visible ASCII characters without spaces'),
    })
      .nullable()
      .prefault(''),
    publicMetrics: flag(false, '`/metrics` needs no token.'),
    hosts: describe(list(adminHostSchema), {
      type: 'list of host names',
      meaning: '`Host` and `Origin` accepted besides IP addresses and loopback names.',
      fallback: 'empty',
    }).prefault([]),
  },
  'The admin port. Changes need a restart.',
);

const trustedProxySchema = text<string>({
  type: 'CIDR',
  meaning: '',
  sentence: 'must be a CIDR like 10.0.0.0/8',
  parse: (raw) => {
    const cidr = canonicalRange(raw);
    return cidr === null ? { message: 'must be a CIDR like 10.0.0.0/8 or fd00::/8' } : { value: cidr };
  },
});

function parseDatabaseUrl(raw: string): Parsed<string> {
  const usable = raw === '' || (/^postgres(ql)?:\/\/\S+$/i.test(raw) && URL.canParse(raw));
  return usable
    ? { value: raw }
    : { message: 'must be a URL like postgres://user:password@127.0.0.1:5432/sluice' };
}

const databaseSchema = block(
  {
    url: text({
      type: 'URL, secret',
      meaning: 'The PostgreSQL that holds the clients. Empty: the embedded one.',
      range: '`postgres://…`',
      fallback: '`DATABASE_URL`, else empty',
      parse: parseDatabaseUrl,
    })
      .nullable()
      .prefault(''),
    embeddedPath: text({
      type: 'path',
      meaning:
        'Folder of the embedded database; one process at a time. It does not flush to the disk (no fsync): a killed process loses nothing, a machine that loses power may lose the last seconds.',
      parse: matching(/^[^\0]{1,4096}$/, 'must be a path'),
    }).prefault('./data/postgres'),
  },
  'Where the clients and their limits are kept. Changes need a restart.',
);

const limitsSchema = block(
  {
    bodyBytes: size('1MiB', ['1', '1024GiB'], 'Largest request body; above: 413.'),
    targetBytes: size('8KiB', ['64', '1MiB'], 'Longest request target; above: 414.'),
    headerBytes: size('16KiB', ['256', '1MiB'], 'All header lines together; above: 431.'),
    headerCount: integer(100, [1, 2000], 'Header lines; above: 431.'),
    connections: integerOrAuto(
      [0, 1_000_000],
      'Open client connections per worker; further ones are closed at once. 0: no cap.',
      "half of the worker's file descriptor limit",
    ),
    connectionsPerIp: integer(
      0,
      [0, 1_000_000],
      'The same per client address and worker; trusted proxies do not count. 0: no cap.',
    ),
  },
  'What a client may send and hold open.',
);

const timeoutsSchema = block(
  {
    headers: duration('10s', ['10ms', '1h'], 'For a whole request header; then 408.'),
    bodyIdle: duration('60s', ['10ms', '24h'], 'Silence inside a request body; then 408.'),
    writeIdle: duration(
      '60s',
      ['10ms', '24h'],
      'A client takes nothing of an answer that waits for it; then it is cut.',
      '0.3',
    ),
    keepAlive: duration('75s', ['10ms', '24h'], 'An idle client connection stays open.'),
    tunnelIdle: later('Silence in both directions of a tunnel'),
    drainGrace: duration(
      '5s',
      ['0s', '1h'],
      'After a stop signal: still serving while `/readyz` already fails.',
    ),
    drain: duration('30s', ['0s', '1h'], 'Then: time for what is in flight.'),
  },
  "Deadlines on the clients' side and at the end.",
);

const logSchema = block(
  {
    level: choice(
      'info',
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'Least severe line that is written.',
    ),
    format: choice('json', ['json', 'pretty'], 'Form of the application log.'),
    access: block(
      {
        enabled: flag(true, 'Write one JSON line per request.'),
        sample: decimal(1, [0, 1], 'Share of the requests that get a line.'),
      },
      'The access log, on standard output.',
    ).prefault({}),
  },
  'Logs.',
);

const secretsSchema = block(
  {
    apiKeys: text({
      type: 'text, secret',
      since: '0.3',
      meaning:
        'Signs the API keys of clients; the same on all machines that share the database, needed where `rateLimit.instances` is above 1. With another one all keys issued before are refused. Empty: made with the first key and kept (0600) beside the embedded database, or with a real one in `./data/api-keys.secret`, where only instances of that working folder find it.',
      range: 'at most 1,024 characters',
      fallback: '`SLUICE_KEY_SECRET`, else empty',
      parse: matching(/^[^\0]{0,1024}$/, 'must be at most 1024 characters'),
    })
      .nullable()
      .prefault(''),
    cookies: later('Secret behind sticky cookies'),
  },
  'Secrets.',
  '0.3',
);

/** configSchema is the whole file. */
export const configSchema = block(
  {
    listen: describe(list(listenEntrySchema, { none: 'needs at least one address' }), {
      type: 'list',
      meaning: 'Addresses for the traffic that is proxied. Changes need a restart.',
      fallback: 'one entry, `:8080`',
    }).prefault([{ address: ':8080' }]),
    admin: adminSchema.prefault({}),
    workers: integerOrAuto([1, 1024], 'Worker processes. Changes need a restart.', 'one per available CPU'),
    accept: choice(
      'shared',
      ['shared', 'round_robin', 'reuse_port'],
      'How workers get connections: all from one socket, whoever is first (`shared`); from the primary, in turn (`round_robin`); each from a socket of its own, over which the kernel spreads them (`reuse_port`: Linux, version 0.2; Unix sockets stay shared). `reuse_port` spreads many connections most evenly, and `round_robin` about a hundred of them, at two to three times the cost of a connection ([figures](performance.md#three-ways-to-get-connections)). Changes need a restart.',
    ),
    trustedProxies: describe(list(trustedProxySchema), {
      type: 'list of CIDRs',
      meaning: 'Peers whose `X-Forwarded-*` and `X-Request-Id` are believed.',
      fallback: 'empty: nobody',
    }).prefault([]),
    pools: poolsSchema,
    routes: routesSchema,
    rateLimit: rateLimitSchema.optional(),
    redis: redisSchema.optional(),
    database: databaseSchema.prefault({}),
    limits: limitsSchema.prefault({}),
    timeouts: timeoutsSchema.prefault({}),
    overload: later('Shedding by event-loop delay and heap'),
    log: logSchema.prefault({}),
    secrets: secretsSchema.prefault({}),
    audit: block(
      {
        adminChanges: later('A row in Postgres per admin change', [false]),
        requests: later('Rows in Postgres about requests', ['off']),
      },
      'Audit rows of features to come.',
    ).optional(),
  },
  '',
);

/** FileConfig is a file that passed the schema, defaults filled in. */
export type FileConfig = z.output<typeof configSchema>;
