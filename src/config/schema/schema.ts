/**
 * The configuration file: keys, defaults, ranges and meanings, from which docs/configuration.md is made. `pools`, `routes`,
 * `rateLimit` and `redis` have files of their own.
 */
import type { z } from 'zod';
import { ADMIN_TOKEN, ADMIN_TOKEN_RULE } from '../../contract/admin-token.ts';
import { LOG_LEVELS } from '../../contract/settings.ts';
import { acmeSchema } from './acme.ts';
import { isHostName, type Parsed, parseListenAddress } from './addresses.ts';
import * as Key from './fields.ts';
import { listenSchema, parseProxy } from './listen.ts';
import { poolsSchema } from './pools.ts';
import { redisSchema } from './redis.ts';
import { rateLimitSchema, routesSchema } from './routes.ts';
import { tracingSchema } from './tracing.ts';

function parseAdminAddress(raw: string): Parsed<{ host: string; port: number }> {
  const parsed = parseListenAddress(raw);
  if ('message' in parsed) return parsed;
  if (parsed.value.kind === 'unix') return { message: 'must be host:port, [v6]:port or :port' };
  return { value: { host: parsed.value.host ?? '::', port: parsed.value.port } };
}

function parseAdminHost(raw: string): Parsed<string> {
  return isHostName(raw) ? { value: raw.toLowerCase() } : { message: 'must be a host name without a port' };
}

function adminToken(meaning: string, since?: string) {
  return Key.textOrNone('text, secret', meaning, Key.matching(ADMIN_TOKEN, ADMIN_TOKEN_RULE), {
    range: 'at most 512 visible ASCII characters; at least 16 where the address is not loopback',
    fallback: 'empty',
    since,
  });
}

/** adminSchema is the block `admin`; on its own for `sluice clients`. */
export const adminSchema = Key.block('The admin port. Changes need a restart.', {
  address: Key.text(
    'address',
    'Where the admin API, `/livez`, `/readyz` and `/metrics` answer. An address other than loopback needs a token.',
    parseAdminAddress,
    { range: '`host:port`, `[v6]:port`, `:port`', notText: 'must be text like 127.0.0.1:9900' },
  ).prefault('127.0.0.1:9900'),
  token: adminToken('Bearer token that admin calls must carry. Empty: they need none.'),
  publicMetrics: Key.flag(false, '`/metrics` needs no token.'),
  readToken: adminToken(
    'A second bearer token, for calls that change nothing: every GET, `POST /api/v1/explain` and `POST /api/v1/config/check`. The others answer 403. It needs `admin.token`. Empty: there is none.',
    '0.8',
  ),
  hosts: Key.list(Key.text('host name', '', parseAdminHost), {
    type: 'list of host names',
    meaning:
      'Names accepted in `Host` and `Origin`, besides IP addresses, loopback names and the name of `admin.address`.',
    fallback: 'empty',
  }).prefault([]),
});

function parseDatabaseUrl(raw: string): Parsed<string> {
  const usable = /^postgres(ql)?:\/\/\S+$/i.test(raw) && URL.canParse(raw);
  const message = 'must be a URL like postgres://user:password@127.0.0.1:5432/sluice';
  return usable ? { value: raw } : { message };
}

const API_KEYS =
  'Signs the API keys of clients. All machines that share the database need the same one, so it is required where `rateLimit.instances` is above 1. With another secret all keys issued before are refused. Empty: Sluice makes one with the first key and keeps it (0600) beside the embedded database, or with a real one in `./data/api-keys.secret`, where only instances of that working folder find it.';

const ACCEPT =
  'How workers get their connections. `shared`: all accept from one socket, whoever is first. `round_robin`: the primary accepts, and deals connections to the workers in turn. `reuse_port` (Linux, since 0.2): each worker accepts from a socket of its own, and the kernel spreads connections over the sockets; Unix sockets stay shared. `reuse_port` spreads a thousand connections and more most evenly. `round_robin` spreads a hundred most evenly, but each connection costs two to three times as much ([figures](performance.md#three-ways-to-get-connections)). Changes need a restart.';

/** configSchema is the whole file. */
export const configSchema = Key.block('', {
  listen: listenSchema,
  acme: acmeSchema.optional(),
  admin: adminSchema.prefault({}),
  workers: Key.integerOrAuto(
    [1, 1024],
    'Worker processes; auto counts the CPUs at the start and at each reload. With `accept: reuse_port` changes need a restart.',
    'one per available CPU',
  ),
  accept: Key.choice(['shared', 'round_robin', 'reuse_port'], ACCEPT),
  trustedProxies: Key.list(Key.text('CIDR', '', parseProxy, { notText: 'must be a CIDR like 10.0.0.0/8' }), {
    type: 'list of CIDRs',
    meaning:
      'Peers whose `X-Forwarded-*` and `X-Request-Id` Sluice believes. `unix:` (since 0.5) stands for every peer on a Unix socket; without it all of them are one client.',
    fallback: 'empty: nobody',
  }).prefault([]),
  pools: poolsSchema.optional(),
  routes: routesSchema,
  rateLimit: rateLimitSchema.optional(),
  redis: redisSchema.optional(),
  database: Key.block(
    'Where the clients and their limits are kept. A reload moves to another `url` ([how](operating.md#reload)); from and to the embedded one it needs a restart.',
    {
      url: Key.textOrNone(
        'URL, secret',
        'The PostgreSQL that holds the clients. Empty: the embedded one.',
        parseDatabaseUrl,
        { range: '`postgres://…`', fallback: '`DATABASE_URL`, else empty' },
      ),
      embeddedPath: Key.text(
        'path',
        'Folder of the embedded database; one process at a time. It does not flush to the disk (no fsync): a killed process loses nothing; a machine that loses power may lose the last seconds or damage the data. Keep records that matter in a PostgreSQL (`url`).',
        Key.parsePath,
      ).prefault('./data/postgres'),
    },
  ).prefault({}),
  limits: Key.block('What a client may send and hold open.', {
    bodyBytes: Key.size('1MiB', ['1', '1024GiB'], 'Largest request body; above: 413.'),
    targetBytes: Key.size('8KiB', ['64', '1MiB'], 'Longest request target; above: 414.'),
    headerBytes: Key.size('16KiB', ['256', '1MiB'], 'All header lines together; above: 431.'),
    headerCount: Key.integer(100, [1, 2000], 'Header lines; above: 431.'),
    connections: Key.integerOrAuto(
      [0, 1_000_000],
      'Open client connections per worker. Above it, one that has been idle for 5 s or longer makes room, else the new one is closed at once. 0: no cap.',
      "half of the worker's file descriptor limit",
    ),
    connectionsPerIp: Key.integer(
      0,
      [0, 1_000_000],
      'The same per client address and worker; trusted proxies do not count. 0: no cap.',
    ),
    bodyMinRate: Key.integer(
      0,
      [0, 1_000_000_000],
      'Lowest rate of a request body in bytes per second, over each 5 s in which Sluice awaits it; below: 408. Calls that stream may pause, and need 0. 0: no lowest rate.',
      '0.7',
    ),
  }).prefault({}),
  timeouts: Key.block('Deadlines on the side of the clients, and of a drain.', {
    headers: Key.duration(
      '10s',
      ['10ms', '1h'],
      'For a whole request head, the first one from the accept of its connection on; then 408.',
    ),
    bodyIdle: Key.duration('60s', ['10ms', '24h'], 'Silence inside a request body; then 408.'),
    writeIdle: Key.duration(
      '60s',
      ['10ms', '24h'],
      'A client takes nothing of an answer that waits for it; then the answer is cut.',
      '0.3',
    ),
    keepAlive: Key.duration('75s', ['10ms', '24h'], 'How long an idle client connection stays open.'),
    tunnelIdle: Key.duration(
      '300s',
      ['10ms', '24h'],
      'Silence of a tunnel (a WebSocket) in both directions; then it is closed.',
      '0.6',
    ),
    drainGrace: Key.duration('5s', ['0s', '1h'], 'Time to serve on after a stop signal; `/readyz` fails.'),
    drain: Key.duration('30s', ['0s', '1h'], 'After that: time for the requests that are in flight.'),
  }).prefault({}),
  log: Key.block('Logs.', {
    level: Key.choice(
      LOG_LEVELS,
      'Least severe line that is written. A call [changes it](operating.md#the-log-level) until the next reload.',
    ).prefault('info'),
    format: Key.choice(
      ['json', 'pretty', 'ecs'],
      'Form of both logs, the access lines included: JSON, plain text for people, or JSON with the names of the [Elastic Common Schema](operating.md#elastic-common-schema) (since 0.8).',
    ),
    file: Key.textOrNone(
      'path',
      'Both logs go to this file (0640, appended to) in place of standard output; SIGUSR1 [reopens it](operating.md#the-log-file).',
      Key.parsePath,
      { fallback: 'none: standard output', since: '0.7' },
    ),
    access: Key.block('The access log, one line per request.', {
      enabled: Key.flag(true, 'Write one line per request.'),
      sample: Key.decimal(1, [0, 1], 'Share of the requests that get a line.'),
    }).prefault({}),
  }).prefault({}),
  secrets: Key.block(
    'Secrets.',
    {
      apiKeys: Key.textOrNone(
        'text, secret',
        API_KEYS,
        Key.matching(/^[^\0]{1,1024}$/, 'must be at most 1024 characters'),
        { range: 'at most 1,024 characters', fallback: '`SLUICE_KEY_SECRET`, else empty', since: '0.3' },
      ),
      cookies: Key.later('Secret that signs sticky cookies'),
    },
    '0.3',
  ).prefault({}),
  overload: Key.block(
    'When a worker turns work away: first by closing connections after their answers, then by refusing new requests with 503 ([how](operating.md#overload)).',
    {
      eventLoopDelay: Key.duration(
        '100ms',
        ['1ms', '1h'],
        'Where three quarters of a second in a row had a turn of the event loop longer than this, keep-alive ends; a second later a growing share of the requests is refused.',
      ),
      heapPercent: Key.block(
        'Used memory, in per cent: of the heap against the limit of V8, and of all processes of the control group (a container) against its limit.',
        {
          soften: Key.integer(92, [1, 100], 'Above: keep-alive ends.'),
          shed: Key.integer(95, [1, 100], 'From here on: new requests are refused.'),
        },
      ).prefault({}),
    },
    '0.7',
  ).prefault({}),
  watch: Key.flag(false, 'Reload when this file changes ([how it is noticed](operating.md#reload)).', '0.7'),
  primary: Key.block(
    'The primary process.',
    {
      graceWithout: Key.duration(
        '30s',
        ['0s', '1h'],
        'When the primary dies, its workers serve on for this long, until a new primary has taken their listening sockets over; then they finish what is in flight. 0s: they finish at once. It needs [a supervisor](operating.md#when-the-primary-dies) that starts the new one. Unix sockets and `accept: round_robin` are refused meanwhile.',
        '0.7',
      ),
    },
    '0.7',
  ).prefault({}),
  tracing: tracingSchema.optional(),
  audit: Key.block(
    'Rows in the database about what happens ([how they are written and read](operating.md#the-audit)).',
    {
      adminChanges: Key.flag(
        true,
        'Keep who changed what through the admin port, and beside it states of backends, reloads, starts and stops of workers, and all else that `GET /api/v1/events` tells.',
      ),
      requests: Key.choice(
        ['off', 'limited', 'all'],
        'Keep requests: `limited` those that a limit refused (429), 1,000 a second of each worker at most, `all` every one ([room](operating.md#requests-in-the-audit)). It needs a PostgreSQL (`database.url`). Paths are kept without their query.',
      ),
      retention: Key.duration(
        '30d',
        ['1d', '3650d'],
        'Days that ended this long ago are dropped, while `adminChanges` or `requests` is on: with both off on all machines, drop the partitions yourself.',
      ),
    },
    '0.8',
  ).prefault({}),
});

/** FileConfig is a file that passed the schema, defaults filled in. */
export type FileConfig = z.output<typeof configSchema>;
