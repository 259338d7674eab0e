/** Long scalars of hostile characters in every kind of field never block the event loop of the primary. */
import { test } from 'node:test';
import { canonicalClientId } from '../../src/clients/client-record.ts';
import { assertCheap, hostileTexts } from '../support/hostile-texts.ts';
import { parseConfig } from '../support/parse-config.ts';

/** One field of each kind of value, and how such a value begins. */
const FIELDS: Readonly<Record<string, { prefix: string; file: (value: string) => object }>> = {
  duration: { prefix: '1', file: (v) => ({ timeouts: { drain: v } }) },
  size: { prefix: '1', file: (v) => ({ limits: { bodyBytes: v } }) },
  integer: { prefix: '', file: (v) => ({ workers: v }) },
  address: { prefix: '', file: (v) => ({ listen: [{ address: v }] }) },
  'v6 address': { prefix: '[', file: (v) => ({ listen: [{ address: v }] }) },
  socket: { prefix: 'unix:/', file: (v) => ({ listen: [{ address: v }] }) },
  'admin address': { prefix: '127.0.0.1:', file: (v) => ({ admin: { address: v } }) },
  token: { prefix: '', file: (v) => ({ admin: { token: v } }) },
  'host name': { prefix: 'a.', file: (v) => ({ admin: { hosts: [v] } }) },
  cidr: { prefix: '10.0.0.0/', file: (v) => ({ trustedProxies: [v] }) },
  'v6 cidr': { prefix: 'fd00:', file: (v) => ({ trustedProxies: [v] }) },
  'backend url': { prefix: 'http://', file: (v) => ({ pools: { a: { backends: [{ url: v }] } } }) },
  'backend id': { prefix: '', file: (v) => ({ pools: { a: { backends: [{ url: 'http://b', id: v }] } } }) },
  status: { prefix: '200-', file: (v) => ({ pools: { a: { healthCheck: { expectStatus: v } } } }) },
  'probe path': { prefix: '/', file: (v) => ({ pools: { a: { healthCheck: { path: v } } } }) },
  'route host': { prefix: '*.', file: (v) => ({ routes: [{ name: 'r', pool: 'a', match: { host: v } }] }) },
  'route path': { prefix: '/', file: (v) => ({ routes: [{ name: 'r', pool: 'a', match: { path: v } }] }) },
  method: { prefix: '', file: (v) => ({ routes: [{ name: 'r', pool: 'a', match: { methods: [v] } }] }) },
  policy: { prefix: '', file: (v) => ({ routes: [{ name: 'r', pool: 'a', rateLimit: { policy: v } }] }) },
  'header name': { prefix: 'x-', file: (v) => ({ rateLimit: { identify: { apiKeyHeader: v } } }) },
  'redis url': { prefix: 'redis://', file: (v) => ({ redis: { url: v } }) },
  'redis node': { prefix: 'redis://', file: (v) => ({ redis: { cluster: [v] } }) },
  'database url': { prefix: 'postgres://', file: (v) => ({ database: { url: v } }) },
  path: { prefix: './', file: (v) => ({ database: { embeddedPath: v } }) },
  secret: { prefix: '', file: (v) => ({ secrets: { apiKeys: v } }) },
  'unknown key': { prefix: '', file: (v) => ({ [v]: 1 }) },
  'pool name': { prefix: '', file: (v) => ({ pools: { [v]: { backends: [{ url: 'http://b' }] } } }) },
};

for (const [kind, { prefix, file }] of Object.entries(FIELDS)) {
  test(`no text of 64 KiB in a field that is a ${kind} blocks the loop`, async () => {
    for (const text of hostileTexts(prefix)) {
      // JSON is YAML, so every character arrives in the field.
      const yaml = JSON.stringify(file(text));
      await assertCheap(yaml, () => parseConfig(yaml, { A: 'x' }));
    }
  });
}

test('no scalar of 64 KiB without quotes, or in a block, blocks the loop', async () => {
  // Without line ends: they are syntax there, and the parser takes about a microsecond per line.
  for (const text of hostileTexts('x').filter((each) => !each.includes('\n'))) {
    for (const yaml of [`workers: ${text}\n`, `admin:\n  token: |\n    ${text}\n`])
      await assertCheap(yaml, () => parseConfig(yaml, { A: 'x' }));
  }
});

test('no client id of 64 KiB blocks the loop', async () => {
  for (const text of ['', '10.0.0.0/', 'fd00:', '[', 'a'].flatMap((prefix) => hostileTexts(prefix)))
    await assertCheap(text, () => canonicalClientId(text));
});
