/** The block `redis` of the configuration. */
import type { Parsed } from './addresses.ts';
import * as Key from './fields.ts';

const SINCE = '0.3';
const URL_RANGE = '`redis://` or `rediss://` (TLS), `[[user]:password@]host[:port]`';

/** The Redis that is used where the block names none and REDIS_URL is not set. */
export const DEFAULT_REDIS_URL = 'redis://127.0.0.1:6379';

function parseRedisUrl(raw: string): Parsed<string> {
  const usable =
    /^rediss?:\/\/[^/?#]+(\/\d{0,3})?$/i.test(raw) && URL.canParse(raw) && new URL(raw).hostname !== '';
  return usable ? { value: raw } : { message: 'must be a URL like redis://:password@127.0.0.1:6379/0' };
}

/** Nodes of a Cluster and sentinels have no numbered databases. */
function parseNodeUrl(raw: string): Parsed<string> {
  const parsed = parseRedisUrl(raw.replace(/\/$/, ''));
  return 'value' in parsed && !/[^/]\/\d/.test(raw)
    ? parsed
    : { message: 'must be a URL like redis://:password@10.0.0.1:6379, without a database' };
}

function nodes(meaning: string) {
  return Key.list(Key.text('URL', '', parseNodeUrl), {
    type: 'list of URLs, secret',
    meaning,
    range: URL_RANGE,
    since: SINCE,
    none: 'needs at least one URL',
  });
}

const REDIS =
  'Where the buckets are. Without this block and without `REDIS_URL` they are in the primary. A reload moves to another store ([how](operating.md#reload)).';

/** redisSchema is applied to the block as written, or to an empty one where REDIS_URL is set. */
export const redisSchema = Key.block(REDIS, {
  url: Key.text(
    'URL, secret',
    'The Redis or Valkey that holds the buckets. `rediss://` (since 0.3) checks the certificate against the host; `NODE_EXTRA_CA_CERTS` names a CA of your own.',
    parseRedisUrl,
    { range: `${URL_RANGE}, \`/db\``, fallback: `\`REDIS_URL\`, else \`${DEFAULT_REDIS_URL}\`` },
  ).optional(),
  prefix: Key.text(
    'text',
    'Beginning of every key, so that several installations can share a Redis.',
    Key.matching(/^[\w.:-]{1,64}$/, 'must be 1–64 of A–Z a–z 0–9 . _ : -'),
    { range: '1–64 of `A–Z a–z 0–9 . _ : -`' },
  ).prefault('sluice'),
  timeout: Key.duration('20ms', ['1ms', '10s'], 'Longest wait for the store; then the local share decides.'),
  cluster: nodes(
    'Some nodes of a Redis Cluster, in place of `url`; Sluice learns the others from them. User and password of the first URL are used for all.',
  ).optional(),
  sentinel: Key.block(
    'A master behind Redis Sentinel, in place of `url`.',
    {
      master: Key.text(
        'text',
        'The name under which the sentinels watch the master.',
        Key.matching(/^[\w.-]{1,128}$/, 'must be 1–128 of A–Z a–z 0–9 . _ -'),
        { range: '1–128 of `A–Z a–z 0–9 . _ -`' },
      ),
      nodes: nodes(
        'The sentinels. User and password of the first URL are used for all of them and for the servers that they watch.',
      ),
    },
    SINCE,
  ).optional(),
});
