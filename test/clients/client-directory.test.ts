import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { ClientDirectory, type ClientsMessage } from '../../src/clients/client-directory.ts';
import { canonicalClientId } from '../../src/clients/client-record.ts';
import { groupOf } from '../../src/contract/addresses.ts';
import type { ClientRecord } from '../../src/contract/clients.ts';

const NOW_MS = 1_800_000_000_000;

class FakeClock {
  nowMs = 0;
  monotonicMs(): number {
    return this.nowMs;
  }
  wallMs(): number {
    return NOW_MS + this.nowMs;
  }
}

const client = (clientId: string, versionUs = 1): ClientRecord => ({
  clientId,
  mode: 'limit',
  limits: {},
  versionUs,
});

function message(fields: Partial<ClientsMessage>): ClientsMessage {
  return {
    type: 'clients',
    version: 1,
    full: false,
    first: true,
    last: true,
    upserts: [],
    tombstones: [],
    ...fields,
  };
}

function directoryOf(...ids: string[]): ClientDirectory {
  const directory = new ClientDirectory(new FakeClock());
  directory.apply(message({ full: true, upserts: ids.map((id) => client(id)) }));
  return directory;
}

test('an exact address wins over a range, the longer range over the shorter, both over the group', () => {
  const directory = directoryOf(
    'acme',
    '10.0.0.0/8',
    '10.1.0.0/16',
    '10.1.2.0/23',
    '10.1.2.3',
    '0.0.0.0/0',
    '2001:db8::/32',
    '2001:db8:0:1::/64',
    '2001:db8::1',
    '2001:db8:0:2:8000::/65',
  );
  const rows: [string, string][] = [
    ['10.1.2.3', '10.1.2.3'],
    ['10.1.2.4', '10.1.2.0/23'],
    ['10.1.3.255', '10.1.2.0/23'],
    ['10.1.4.0', '10.1.0.0/16'],
    ['10.2.0.1', '10.0.0.0/8'],
    ['11.0.0.1', '0.0.0.0/0'],
    ['2001:db8::1', '2001:db8::1'],
    ['2001:db8:0:1:ffff::9', '2001:db8:0:1::/64'],
    ['2001:db8:0:2:8000::1', '2001:db8:0:2:8000::/65'],
    ['2001:db8:0:2::1', '2001:db8::/32'],
  ];
  for (const [address, id] of rows) {
    const match = directory.byAddress(address, groupOf(address, 32, 64));
    assert.equal(match.client?.clientId, id, address);
    assert.equal(match.bucketName, id, address);
    assert.equal(match.tombstoneUs, 0);
  }
  assert.deepEqual(directory.byAddress('2001:db9::1', '2001:db9::/64'), {
    client: null,
    bucketName: '2001:db9::/64',
    tombstoneUs: 0,
  });
  assert.equal(directory.byAddress('acme', 'x').client?.clientId, 'acme');
  assert.equal(directory.byName('acme')?.clientId, 'acme');
  assert.equal(directory.byName('nobody'), null);
});

test('the longest prefix found is the one a walk over all ranges finds', () => {
  const address = fc.oneof(
    fc.ipV4(),
    fc.ipV6().map((text) => canonicalClientId(text) ?? '::'),
  );
  const nearby = fc.tuple(fc.nat(3), fc.nat(255), fc.nat(255)).map(([b, c, d]) => `10.${b}.${c}.${d}`);
  const range = fc.tuple(fc.oneof(address, nearby), fc.nat(128)).map(([text, bits]) => {
    return canonicalClientId(`${text}/${text.includes(':') ? bits : bits % 33}`) ?? '::/0';
  });
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 30 }),
      fc.oneof(address, nearby),
      fc.boolean(),
      (ranges, asked, thinned) => {
        const directory = directoryOf(...ranges);
        const gone = thinned ? ranges.filter((_, index) => index % 2 === 0) : [];
        directory.apply(message({ tombstones: gone.map((clientId) => ({ clientId, versionUs: 2 })) }));
        const holding = ranges
          .filter((each) => !gone.includes(each) && holds(each, asked))
          .sort((a, b) => bitsOf(b) - bitsOf(a));
        assert.equal(directory.byAddress(asked, asked).client?.clientId, holding[0]);
      },
    ),
    { numRuns: 500 },
  );
});

function bitsOf(range: string): number {
  return range.includes('/') ? Number(range.split('/')[1]) : 128;
}

function holds(range: string, address: string): boolean {
  if (!range.includes('/')) return range === address;
  const parsed = ipaddr.parse(address);
  const [network, bits] = ipaddr.parseCIDR(range);
  return parsed.kind() === network.kind() && parsed.match(network, bits);
}

test('a deleted client leaves its version for its bucket, also for the anonymous caller who inherits it', () => {
  const directory = directoryOf('1.2.3.4', '10.0.0.0/8', 'acme');
  const bury = (clientId: string, versionUs: number) =>
    message({ version: 2, tombstones: [{ clientId, versionUs }] });
  assert.equal(directory.apply(bury('1.2.3.4', 5)), 2);
  assert.deepEqual(directory.byAddress('1.2.3.4', '1.2.3.4'), {
    client: null,
    bucketName: '1.2.3.4',
    tombstoneUs: 5,
  });
  directory.apply(bury('10.0.0.0/8', 6));
  assert.deepEqual(directory.byAddress('10.1.1.1', '10.1.1.1'), {
    client: null,
    bucketName: '10.1.1.1',
    tombstoneUs: 0,
  });
  assert.equal(
    directory.byAddress('10.1.1.1', '10.0.0.0/8').tombstoneUs,
    6,
    'where the group is that very range',
  );

  directory.apply(message({ upserts: [client('1.2.3.4', 4)] }));
  assert.equal(directory.byAddress('1.2.3.4', '1.2.3.4').client, null, 'older than its tombstone');
  directory.apply(message({ upserts: [client('1.2.3.4', 7)] }));
  assert.deepEqual(directory.byAddress('1.2.3.4', 'x'), {
    client: client('1.2.3.4', 7),
    bucketName: '1.2.3.4',
    tombstoneUs: 0,
  });
  directory.apply(bury('1.2.3.4', 6));
  assert.equal(directory.byAddress('1.2.3.4', 'x').client?.versionUs, 7, 'a late tombstone does not win');
});

test('a snapshot in parts takes over with its last part, and the version is acknowledged then', () => {
  const directory = directoryOf('old');
  const part = (fields: Partial<ClientsMessage>) =>
    directory.apply(message({ full: true, version: 9, ...fields }));
  assert.equal(part({ first: true, last: false, upserts: [client('a')] }), null);
  assert.equal(part({ first: false, last: false, upserts: [client('b')] }), null);
  assert.ok(
    directory.byName('old') !== null && directory.byName('a') === null,
    'half a snapshot is not shown',
  );
  assert.equal(part({ first: false, last: true, tombstones: [{ clientId: 'c', versionUs: 3 }] }), 9);
  assert.equal(directory.version, 9);
  assert.equal(directory.clientCount, 2);
  assert.equal(directory.byName('old'), null);
  assert.equal(directory.byAddress('z', 'c').tombstoneUs, 3);
  // Restarted from its first part; and one without a first part does nothing.
  assert.equal(part({ first: true, last: false, upserts: [client('lost')] }), null);
  assert.equal(part({ first: true, last: true, upserts: [client('won')] }), 9);
  assert.equal(part({ first: false, last: true, upserts: [client('stray')] }), null);
  assert.deepEqual(
    [directory.byName('lost'), directory.byName('stray'), directory.clientCount],
    [null, null, 1],
  );
});

test('tombstones that no bucket can need are forgotten', () => {
  const clock = new FakeClock();
  const directory = new ClientDirectory(clock);
  const dayMs = 86_400_000;
  const at = (days: number) => (NOW_MS - days * dayMs) * 1000;
  directory.apply(
    message({
      tombstones: [
        { clientId: 'old', versionUs: at(32) },
        { clientId: 'young', versionUs: at(30) },
      ],
    }),
  );
  assert.equal(directory.byAddress('x', 'old').tombstoneUs, at(32));
  clock.nowMs = 2 * 3_600_000;
  directory.apply(message({}));
  assert.equal(directory.byAddress('x', 'old').tombstoneUs, 0);
  assert.equal(directory.byAddress('x', 'young').tombstoneUs, at(30));
});
