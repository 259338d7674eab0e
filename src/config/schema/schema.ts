/**
 * The configuration file but for pools, routes and limits: keys, defaults, ranges and meanings. The
 * reference page docs/configuration.md is made from here by scripts/config-docs.ts.
 */
import { z } from 'zod';
import { canonicalRange } from '../../contract/addresses.ts';
import { isHostName, type Parsed, parseListenAddress } from './addresses.ts';
import {
  block,
  choice,
  decimal,
  duration,
  FIRST_VERSION,
  fieldInfo,
  flag,
  integer,
  integerOrAuto,
  later,
  matching,
  saying,
  size,
  text,
} from './fields.ts';
import { poolsSchema } from './schema-pools.ts';
import { redisSchema } from './schema-redis.ts';
import { rateLimitSchema, routesSchema } from './schema-routes.ts';

const LATER = 'later';

const listenSchema = z
  .array(
    block(
      {
        address: text({
          type: 'address',
          meaning:
            'Where to accept HTTP/1.1. Without a host: every IPv4 and IPv6 address. Port 0: any free one. The file of a Unix socket at which nobody listens any more is replaced.',
          range: '`host:port`, `[v6]:port`, `:port`, `unix:/path`',
          sentence: 'must be text like ":8080"',
          parse: parseListenAddress,
        }),
        tls: later({ since: LATER, meaning: 'Certificates; serve HTTPS' }),
        http2: later({ since: LATER, meaning: 'HTTP/2 on this address', accepts: [false] }),
        proxyProtocol: later({ since: LATER, meaning: 'PROXY protocol, versions 1 and 2', accepts: [false] }),
      },
      'One address to listen at.',
    ),
    saying('must be a list'),
  )
  .min(1, 'needs at least one address')
  .prefault([{ address: ':8080' }])
  .register(fieldInfo, {
    type: 'list',
    meaning: 'Addresses for the traffic that is proxied. Changes need a restart.',
    range: '',
    fallback: 'one entry, `:8080`',
    since: FIRST_VERSION,
  });

function parseAdminAddress(raw: string): Parsed<{ host: string; port: number }> {
  const parsed = parseListenAddress(raw);
  if ('message' in parsed) return parsed;
  if (parsed.value.kind === 'unix') return { message: 'must be host:port, [v6]:port or :port' };
  return { value: { host: parsed.value.host ?? '::', port: parsed.value.port } };
}

function parseAdminHost(raw: string): Parsed<string> {
  if (!isHostName(raw)) return { message: 'must be a host name without a port' };
  return { value: raw.toLowerCase() };
}

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
    token: z
      .string(saying('must be text'))
      .regex(/^[\x21-\x7e]{0,512}$/, 'must be at most 512 visible ASCII characters without spaces')
      .nullable()
      .prefault('')
      .register(fieldInfo, {
        type: 'text, secret',
        meaning: 'Bearer token that admin calls must carry. Empty: none is asked for.',
        range: 'at most 512 visible ASCII characters',
        fallback: 'empty',
        since: FIRST_VERSION,
      }),
    publicMetrics: flag({ meaning: '`/metrics` needs no token.', fallback: false }),
    hosts: z
      .array(
        text({ type: 'host name', meaning: '', range: '', sentence: 'must be text', parse: parseAdminHost }),
        saying('must be a list'),
      )
      .prefault([])
      .register(fieldInfo, {
        type: 'list of host names',
        meaning: '`Host` and `Origin` accepted besides IP addresses and loopback names.',
        range: '',
        fallback: 'empty',
        since: FIRST_VERSION,
      }),
  },
  'The admin port. Changes need a restart.',
).prefault({});

const trustedProxiesSchema = z
  .array(
    text<string>({
      type: 'CIDR',
      meaning: '',
      range: '',
      sentence: 'must be a CIDR like 10.0.0.0/8',
      parse: (raw) => {
        const cidr = canonicalRange(raw);
        return cidr === null ? { message: 'must be a CIDR like 10.0.0.0/8 or fd00::/8' } : { value: cidr };
      },
    }),
    saying('must be a list'),
  )
  .prefault([])
  .register(fieldInfo, {
    type: 'list of CIDRs',
    meaning: 'Peers whose `X-Forwarded-*` and `X-Request-Id` are believed.',
    range: '',
    fallback: 'empty: nobody',
    since: FIRST_VERSION,
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
      sentence: 'must be text',
      parse: parseDatabaseUrl,
    })
      .nullable()
      .prefault(''),
    embeddedPath: text({
      type: 'path',
      meaning:
        'Folder of the embedded database; one process at a time. It does not flush to the disk (no fsync): a killed process loses nothing, a machine that loses power may lose the last seconds.',
      range: '',
      sentence: 'must be text',
      parse: matching(/^[^\0]{1,4096}$/, 'must be a path'),
    }).prefault('./data/postgres'),
  },
  'Where the clients and their limits are kept. Changes need a restart.',
).prefault({});

const limitsSchema = block(
  {
    bodyBytes: size({
      meaning: 'Largest request body; above: 413.',
      min: '1',
      max: '1024GiB',
      fallback: '1MiB',
    }),
    targetBytes: size({
      meaning: 'Longest request target; above: 414.',
      min: '64',
      max: '1MiB',
      fallback: '8KiB',
    }),
    headerBytes: size({
      meaning: 'All header lines together; above: 431.',
      min: '256',
      max: '1MiB',
      fallback: '16KiB',
    }),
    headerCount: integer({ meaning: 'Header lines; above: 431.', min: 1, max: 2000, fallback: 100 }),
    connections: integerOrAuto({
      meaning: 'Open client connections per worker; further ones are closed at once. 0: no cap.',
      min: 0,
      max: 1_000_000,
      auto: "half of the worker's file descriptor limit",
    }),
    connectionsPerIp: integer({
      meaning: 'The same per client address and worker; trusted proxies do not count. 0: no cap.',
      min: 0,
      max: 1_000_000,
      fallback: 0,
    }),
  },
  'What a client may send and hold open.',
).prefault({});

const timeoutsSchema = block(
  {
    headers: duration({
      meaning: 'For a whole request header; then 408.',
      min: '10ms',
      max: '1h',
      fallback: '10s',
    }),
    bodyIdle: duration({
      meaning: 'Silence inside a request body; then 408.',
      min: '10ms',
      max: '24h',
      fallback: '60s',
    }),
    writeIdle: duration({
      meaning: 'A client takes nothing of an answer that waits for it; then it is cut.',
      min: '10ms',
      max: '24h',
      fallback: '60s',
      since: '0.3',
    }),
    keepAlive: duration({
      meaning: 'An idle client connection stays open.',
      min: '10ms',
      max: '24h',
      fallback: '75s',
    }),
    tunnelIdle: later({ since: LATER, meaning: 'Silence in both directions of a tunnel' }),
    drainGrace: duration({
      meaning: 'After a stop signal: still serving while `/readyz` already fails.',
      min: '0s',
      max: '1h',
      fallback: '5s',
    }),
    drain: duration({ meaning: 'Then: time for what is in flight.', min: '0s', max: '1h', fallback: '30s' }),
  },
  "Deadlines on the clients' side and at the end.",
).prefault({});

const logSchema = block(
  {
    level: choice({
      meaning: 'Least severe line that is written.',
      values: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      fallback: 'info',
    }),
    format: choice({ meaning: 'Form of the application log.', values: ['json', 'pretty'], fallback: 'json' }),
    access: block(
      {
        enabled: flag({ meaning: 'Write one JSON line per request.', fallback: true }),
        sample: decimal({ meaning: 'Share of the requests that get a line.', min: 0, max: 1, fallback: 1 }),
      },
      'The access log, on standard output.',
    ).prefault({}),
  },
  'Logs.',
).prefault({});

/** configSchema is the whole file. */
export const configSchema = block(
  {
    listen: listenSchema,
    admin: adminSchema,
    workers: integerOrAuto({
      meaning: 'Worker processes. Changes need a restart.',
      min: 1,
      max: 1024,
      auto: 'one per available CPU',
    }),
    accept: choice({
      meaning:
        'How workers get connections: from one socket, whoever is first (`shared`); from the primary, in turn (`round_robin`); each from a socket of its own, spread by the kernel (`reuse_port`: Linux, version 0.2; Unix sockets stay shared). `reuse_port` spreads them most evenly; of a hundred or so `round_robin` does, at two to three times the cost of a connection ([figures](performance.md#three-ways-to-get-connections)). Changes need a restart.',
      values: ['shared', 'round_robin', 'reuse_port'],
      fallback: 'shared',
    }),
    trustedProxies: trustedProxiesSchema,
    pools: poolsSchema,
    routes: routesSchema,
    rateLimit: rateLimitSchema.optional(),
    redis: redisSchema.optional(),
    database: databaseSchema,
    limits: limitsSchema,
    timeouts: timeoutsSchema,
    overload: later({ since: LATER, meaning: 'Shedding by event-loop delay and heap' }),
    log: logSchema,
    secrets: block(
      {
        apiKeys: text({
          type: 'text, secret',
          since: '0.3',
          meaning:
            'Signs the API keys of clients; the same on all machines that share the database, needed where `rateLimit.instances` is above 1. With another one all keys issued before are refused. Empty: made with the first key and kept in `./data/api-keys.secret` (0600).',
          range: 'at most 1,024 characters',
          fallback: '`SLUICE_KEY_SECRET`, else empty',
          sentence: 'must be text',
          parse: matching(/^[^\0]{0,1024}$/, 'must be at most 1024 characters'),
        })
          .nullable()
          .prefault(''),
        cookies: later({ since: LATER, meaning: 'Secret behind sticky cookies' }),
      },
      'Secrets.',
      '0.3',
    ).prefault({}),
    audit: block(
      {
        adminChanges: later({
          since: LATER,
          meaning: 'A row in Postgres per admin change',
          accepts: [false],
        }),
        requests: later({ since: LATER, meaning: 'Rows in Postgres about requests', accepts: ['off'] }),
      },
      'Audit rows of features to come.',
    ).optional(),
  },
  '',
);

/** FileConfig is a file that passed the schema, defaults filled in. */
export type FileConfig = z.output<typeof configSchema>;
