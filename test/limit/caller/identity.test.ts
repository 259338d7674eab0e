import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApiKeyLookup, ClientLookup, ClientMatch, ClientRecord } from '../../../src/contract/clients.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import { ApiKeyClients } from '../../../src/limit/caller/api-key-clients.ts';
import { type Caller, CallerIdentifier } from '../../../src/limit/caller/identity.ts';

/** An empty directory that the test can fill. */
class Directory implements ClientLookup {
  readonly clients = new Map<string, ClientRecord>();
  readonly tombstones = new Map<string, number>();
  asked: string[] = [];
  /** true: nothing changes. */
  still = false;
  nowSec = 1;
  readonly noted: string[] = [];
  #generation = 0;

  noteSeen(clientId: string): void {
    this.noted.push(clientId);
  }

  get generation(): number {
    return this.still ? this.#generation : ++this.#generation;
  }

  byAddress(address: string, grouped: string): ClientMatch {
    this.asked.push(`${address} ${grouped}`);
    const client = this.clients.get(address) ?? this.clients.get(grouped) ?? null;
    const bucketName = client?.clientId ?? grouped;
    return { client, bucketName, tombstoneUs: this.tombstones.get(bucketName) ?? 0 };
  }

  add(clientId: string, mode: ClientRecord['mode'] = 'limit', versionUs = 1): ClientRecord {
    const record = { clientId, mode, limits: {}, versionUs };
    this.clients.set(clientId, record);
    return record;
  }
}

function identify(identifier: CallerIdentifier, peer: string, forwardedFor: string, apiKey = ''): Caller {
  return identifier.identify(identifier.addressOf(peer), forwardedFor, apiKey);
}

function makeIdentifier(trusted: string[] = [], prefixes = { ipv4Prefix: 32, ipv6Prefix: 64 }) {
  const directory = new Directory();
  const identifier = new CallerIdentifier({
    trustedProxies: trusted,
    lookup: directory,
    keys: null,
    ...prefixes,
  });
  return { directory, identifier };
}

/** trusted proxies, peer, X-Forwarded-For → the client */
const WALKS: [what: string, trusted: string[], peer: string, forwardedFor: string, client: string][] = [
  ['the peer if no proxy is trusted', [], '198.51.100.1', '203.0.113.7', '198.51.100.1'],
  ['the peer if it is not trusted', ['10.0.0.0/8'], '198.51.100.1', '203.0.113.7', '198.51.100.1'],
  ['the peer without the field', ['10.0.0.0/8'], '10.0.0.1', '', '10.0.0.1'],
  ['the only item', ['10.0.0.0/8'], '10.0.0.1', '203.0.113.7', '203.0.113.7'],
  [
    'the rightmost untrusted, not a spoofed one',
    ['10.0.0.0/8'],
    '10.0.0.1',
    '6.6.6.6, 203.0.113.7',
    '203.0.113.7',
  ],
  [
    'past trusted hops',
    ['10.0.0.0/8'],
    '10.0.0.1',
    '6.6.6.6, 203.0.113.7, 10.0.0.9, 10.0.0.8',
    '203.0.113.7',
  ],
  ['the leftmost where all are trusted', ['10.0.0.0/8'], '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
  ['an item without space', ['10.0.0.0/8'], '10.0.0.1', '6.6.6.6,203.0.113.7', '203.0.113.7'],
  ['an item with tabs', ['10.0.0.0/8'], '10.0.0.1', '6.6.6.6,\t203.0.113.7\t', '203.0.113.7'],
  ['an item with a port', ['10.0.0.0/8'], '10.0.0.1', '203.0.113.7:5123', '203.0.113.7'],
  ['a bare IPv6 item', ['10.0.0.0/8'], '10.0.0.1', '2001:DB8::1', '2001:db8::1'],
  ['a bracketed IPv6 item', ['10.0.0.0/8'], '10.0.0.1', '[2001:db8::1]', '2001:db8::1'],
  ['a bracketed IPv6 item with a port', ['10.0.0.0/8'], '10.0.0.1', '[2001:db8::1]:443', '2001:db8::1'],
  ['a mapped item', ['10.0.0.0/8'], '10.0.0.1', '::ffff:203.0.113.7', '203.0.113.7'],
  ['a mapped item in brackets', ['10.0.0.0/8'], '10.0.0.1', '[::ffff:203.0.113.7]:9', '203.0.113.7'],
  ['a mapped peer', [], '::ffff:198.51.100.1', '', '198.51.100.1'],
  ['a mapped peer that is trusted', ['10.0.0.0/8'], '::ffff:10.0.0.1', '203.0.113.7', '203.0.113.7'],
  ['a peer with a zone', [], 'fe80::1%eth0', '', 'fe80::1'],
  ['an IPv6 proxy', ['fd00::/8'], 'fd00::1', '203.0.113.7', '203.0.113.7'],
  ['no IPv4 peer by a range of IPv6', ['::/0'], '10.0.0.1', '203.0.113.7', '10.0.0.1'],
  ['a lone trusted address', ['192.0.2.4'], '192.0.2.4', '203.0.113.7', '203.0.113.7'],
  ['only up to garbage', ['10.0.0.0/8'], '10.0.0.1', '203.0.113.7, unknown, 10.0.0.2', '10.0.0.2'],
  ['the peer before garbage', ['10.0.0.0/8'], '10.0.0.1', '203.0.113.7, <script>', '10.0.0.1'],
  ['the peer before an empty item', ['10.0.0.0/8'], '10.0.0.1', '203.0.113.7, ', '10.0.0.1'],
  ['no octal spelling', ['10.0.0.0/8'], '10.0.0.1', '010.1.1.1', '10.0.0.1'],
  ['no number for an address', ['10.0.0.0/8'], '10.0.0.1', '3405803783', '10.0.0.1'],
  ['no hexadecimal spelling', ['10.0.0.0/8'], '10.0.0.1', '0xcb.0.0x71.7', '10.0.0.1'],
  ['no IPv4 in brackets', ['10.0.0.0/8'], '10.0.0.1', '[203.0.113.7]', '10.0.0.1'],
  ['no port without digits', ['10.0.0.0/8'], '10.0.0.1', '203.0.113.7:', '10.0.0.1'],
  ['a peer without an address', ['10.0.0.0/8'], '', '203.0.113.7', 'unix:'],
  ['a Unix socket’s peer', ['10.0.0.0/8'], 'unix:', '203.0.113.7', 'unix:'],
  [
    'the address that a trusted Unix socket’s peer sends',
    ['unix:'],
    'unix:',
    '6.6.6.6, 203.0.113.7',
    '203.0.113.7',
  ],
  ['a trusted Unix socket’s peer without the field', ['unix:'], 'unix:', '', 'unix:'],
  ['the peer if only Unix sockets are trusted', ['unix:'], '198.51.100.1', '203.0.113.7', '198.51.100.1'],
];

for (const [what, trusted, peer, forwardedFor, client] of WALKS) {
  test(`B26: the client’s address is ${what}`, () => {
    const { identifier } = makeIdentifier(trusted);
    assert.equal(identify(identifier, peer, forwardedFor).clientIp, client);
    assert.equal(identify(identifier, peer, forwardedFor).clientIp, client, 'from the cache');
  });
}

test('B26: the client’s address is searched in the last 32 hops only', () => {
  const { identifier } = makeIdentifier(['10.0.0.0/8']);
  const hops = Array.from({ length: 40 }, (_, index) => `10.1.0.${index}`);
  assert.equal(identify(identifier, '10.0.0.1', `6.6.6.6, ${hops.join(', ')}`).clientIp, '10.1.0.8');
});

test('B26: headers of untrusted peers add no entries to the cache of addresses', () => {
  const { identifier, directory } = makeIdentifier(['10.0.0.0/8']);
  const callers = new Set(
    Array.from({ length: 50 }, (_, index) => identify(identifier, '198.51.100.1', `203.0.113.${index}`)),
  );
  assert.equal(callers.size, 1);
  assert.equal(new Set(directory.asked).size, 1);
});

const hashOf = (identifier: CallerIdentifier, address: string): string =>
  identify(identifier, address, '').bucketHash;

test('B33: all addresses of an IPv6 /64 share one bucket', () => {
  const { identifier, directory } = makeIdentifier();
  assert.equal(hashOf(identifier, '2001:db8:1:2::1'), hashOf(identifier, '2001:db8:1:2:ffff::9'));
  assert.notEqual(hashOf(identifier, '2001:db8:1:2::1'), hashOf(identifier, '2001:db8:1:3::1'));
  assert.notEqual(hashOf(identifier, '192.0.2.1'), hashOf(identifier, '192.0.2.2'));
  assert.ok(directory.asked.includes('2001:db8:1:2::1 2001:db8:1:2::/64'));
  assert.ok(directory.asked.includes('192.0.2.1 192.0.2.1'));
});

test('B33: the bucket of a caller follows the configured prefixes', () => {
  const { directory, identifier } = makeIdentifier([], { ipv4Prefix: 24, ipv6Prefix: 128 });
  assert.equal(hashOf(identifier, '192.0.2.1'), hashOf(identifier, '192.0.2.200'));
  assert.notEqual(hashOf(identifier, '2001:db8::1'), hashOf(identifier, '2001:db8::2'));
  assert.deepEqual(
    new Set(directory.asked),
    new Set([
      '192.0.2.1 192.0.2.0/24',
      '192.0.2.200 192.0.2.0/24',
      '2001:db8::1 2001:db8::1',
      '2001:db8::2 2001:db8::2',
    ]),
  );
});

test('B33: the bucket of a caller is the same before and after a client is created for its address or group', () => {
  for (const [address, clientId] of [
    ['203.0.113.7', '203.0.113.7'],
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ] as const) {
    const { identifier, directory } = makeIdentifier();
    const before = identify(identifier, address, '');
    directory.add(clientId);
    const after = identify(identifier, address, '');
    assert.equal(after.bucketHash, before.bucketHash);
    assert.deepEqual([before.clientId, after.clientId], [null, clientId]);
  }
});

test('B33: the directory is asked for a caller once, and again when it has changed', () => {
  const { identifier, directory } = makeIdentifier(['10.0.0.0/8']);
  directory.still = true;
  const ask = () => identify(identifier, '10.0.0.1', '203.0.113.7');
  const first = ask();
  assert.deepEqual([ask(), directory.asked.length], [first, 1]);
  directory.still = false;
  assert.deepEqual([ask(), directory.asked.length], [first, 2]);
});

test('B33: the bucket of a caller belongs to the client that the directory names, and changes with it at once', () => {
  const { identifier, directory } = makeIdentifier();
  const anonymous = identify(identifier, '203.0.113.7', '');
  assert.deepEqual([anonymous.mode, anonymous.match.client], ['limit', null]);
  assert.equal(identify(identifier, '203.0.113.7', ''), anonymous, 'one object while nothing changes');
  directory.add('203.0.113.7', 'blocked');
  assert.equal(identify(identifier, '203.0.113.7', '').mode, 'blocked');
  directory.clients.clear();
  directory.tombstones.set('203.0.113.7', 9);
  assert.equal(identify(identifier, '203.0.113.7', '').match.tombstoneUs, 9);
});

/** Clients by key. Keys must begin with `k`. */
class Keys implements ApiKeyLookup {
  readonly known = new Map<string, { clientId: string; revoked: boolean }>();
  readonly clients = new Map<string, ClientRecord>();
  verifiedCount = 0;

  verify(text: string) {
    this.verifiedCount++;
    return this.known.get(text) ?? (text.startsWith('k') ? 'unknown' : 'malformed');
  }

  byName(clientId: string): ClientRecord | null {
    return this.clients.get(clientId) ?? null;
  }

  add(key: string, clientId: string, mode: ClientRecord['mode'] = 'limit'): void {
    this.known.set(key, { clientId, revoked: false });
    this.clients.set(clientId, { clientId, mode, limits: {}, versionUs: 1 });
  }
}

function makeKeyed() {
  const keys = new Keys();
  const metrics = new WorkerMetrics();
  const directory = new Directory();
  const identifier = new CallerIdentifier({
    trustedProxies: [],
    lookup: directory,
    keys: new ApiKeyClients(keys, metrics),
    ipv4Prefix: 32,
    ipv6Prefix: 64,
  });
  const cells = ['valid', 'unknown', 'malformed'].map((result) =>
    metrics.series('sluice_api_key_requests_total', result),
  );
  const counts = () => {
    const { cells: delta } = metrics.takeDelta();
    return cells.map((cell) => {
      const at = delta.findIndex((value, index) => index % 2 === 0 && value === cell);
      return at < 0 ? 0 : delta[at + 1];
    });
  };
  return { keys, directory, identifier, counts };
}

test('B33: a caller with an API key is the client of the key, with one bucket for all addresses, and is logged with its address', () => {
  const { keys, identifier, counts } = makeKeyed();
  keys.add('k1', 'acme', 'unlimited');
  keys.add('k2', 'acme', 'unlimited');
  const one = identify(identifier, '192.0.2.1', '', 'k1');
  const other = identify(identifier, '198.51.100.9', '', 'k2');
  assert.deepEqual([one.clientId, one.mode, one.clientIp], ['acme', 'unlimited', '192.0.2.1']);
  assert.deepEqual([other.bucketHash, other.clientIp], [one.bucketHash, '198.51.100.9']);
  assert.equal(other.match, one.match, 'one object, so that the limiter sees no change');
  assert.equal(identify(identifier, '192.0.2.1', '', 'k1'), one);
  assert.equal(keys.verifiedCount, 2, 'a known key is not verified again');
  const anonymous = identify(identifier, '192.0.2.1', '');
  assert.equal(anonymous.clientId, null);
  assert.notEqual(anonymous.bucketHash, one.bucketHash);
  assert.deepEqual(counts(), [3, 0, 0]);
});

test('B33: a caller is identified by its address if the API key is wrong, malformed, doubled, or of an unknown client', () => {
  const { keys, directory, identifier, counts } = makeKeyed();
  keys.add('k1', 'acme');
  directory.add('192.0.2.1', 'blocked');
  for (const key of ['k2', 'acme', 'k1, k1', 'Bearer k1']) {
    const caller = identify(identifier, '192.0.2.1', '', key);
    assert.deepEqual([caller.clientId, caller.mode], ['192.0.2.1', 'blocked'], key);
  }
  assert.deepEqual(counts(), [0, 2, 2]);
  keys.clients.clear();
  assert.equal(identify(identifier, '192.0.2.7', '', 'k1').clientId, null);
  assert.deepEqual(counts(), [0, 1, 0]);
});

test('B33: a caller is identified by its address as soon as its API key is revoked, and follows changes of its client at once', () => {
  const { keys, identifier } = makeKeyed();
  keys.add('k1', 'acme');
  const before = identify(identifier, '192.0.2.1', '', 'k1');
  keys.clients.set('acme', { clientId: 'acme', mode: 'blocked', limits: {}, versionUs: 2 });
  const changed = identify(identifier, '192.0.2.1', '', 'k1');
  assert.deepEqual([changed.mode, changed.bucketHash], ['blocked', before.bucketHash]);
  const key = keys.known.get('k1');
  assert.ok(key !== undefined);
  key.revoked = true;
  keys.known.delete('k1');
  assert.equal(identify(identifier, '192.0.2.1', '', 'k1').clientId, null);
});

test('a client is noted once a second, by its address or by a key; who is no client is not noted', () => {
  const { keys, directory, identifier } = makeKeyed();
  keys.add('k1', 'acme');
  directory.add('192.0.2.1');
  const send = (address: string, apiKey = ''): void =>
    identifier.noteSeen(identify(identifier, address, '', apiKey));
  for (let i = 0; i < 3; i++) {
    send('192.0.2.1');
    send('192.0.2.2', 'k1');
    send('192.0.2.3');
  }
  assert.deepEqual(directory.noted, ['192.0.2.1', 'acme']);
  directory.nowSec = 2;
  send('192.0.2.1');
  assert.deepEqual(directory.noted, ['192.0.2.1', 'acme', '192.0.2.1']);
});
