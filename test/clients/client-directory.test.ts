import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { ClientDirectory, type ClientsMessage } from '../../src/clients/client-directory.ts';
import { canonicalClientId } from '../../src/clients/client-record.ts';
import { ClientPacker } from '../../src/clients/packed-client.ts';
import { groupOf } from '../../src/contract/addresses.ts';
import type { ClientRecord, ClientTombstone } from '../../src/contract/clients.ts';

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

const packer = new ClientPacker();

interface Parts {
  upserts?: ClientRecord[];
  tombstones?: ClientTombstone[];
}

/** A change, unless the fields say otherwise. */
function message({
  upserts = [],
  tombstones = [],
  ...fields
}: Partial<ClientsMessage> & Parts): ClientsMessage {
  const records = [
    ...upserts.map((each) => Buffer.from(packer.client(each))),
    ...tombstones.map(({ clientId, versionUs }) => Buffer.from(packer.tombstone(clientId, versionUs))),
  ];
  return {
    type: 'clients',
    part: 1,
    version: 1,
    full: false,
    first: false,
    last: false,
    records: Buffer.concat(records).toString('base64'),
    ...fields,
  };
}

function directoryOf(...ids: string[]): ClientDirectory {
  const directory = new ClientDirectory(new FakeClock());
  directory.apply(message({ full: true, first: true, last: true, upserts: ids.map((id) => client(id)) }));
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
  directory.apply(bury('1.2.3.4', 5));
  assert.equal(directory.version, 2);
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

test('a full set in parts takes over with its last part', () => {
  const directory = directoryOf('old');
  const part = (fields: Partial<ClientsMessage> & Parts) =>
    directory.apply(message({ full: true, version: 9, ...fields }));
  assert.ok(part({ first: true, upserts: [client('a')] }));
  assert.ok(part({ upserts: [client('b')] }));
  assert.ok(directory.byName('old') !== null && directory.byName('a') === null, 'half of it is not shown');
  assert.equal(directory.version, 1);
  part({ last: true, tombstones: [{ clientId: 'c', versionUs: 3 }] });
  assert.equal(directory.version, 9);
  assert.equal(directory.clientCount, 2);
  assert.equal(directory.byName('old'), null);
  assert.equal(directory.byAddress('z', 'c').tombstoneUs, 3);
  // Restarted from its first part; and one without a first part does nothing.
  part({ first: true, upserts: [client('lost')] });
  part({ first: true, last: true, upserts: [client('won')] });
  part({ last: true, upserts: [client('stray')] });
  assert.deepEqual(
    [directory.byName('lost'), directory.byName('stray'), directory.clientCount],
    [null, null, 1],
  );
});

test('a change that comes between the parts of a full set is in force at once and afterwards', () => {
  const directory = directoryOf('old', 'a');
  const full = (fields: Partial<ClientsMessage> & Parts) =>
    directory.apply(message({ full: true, ...fields }));
  full({ first: true, upserts: [client('a', 1)] });
  directory.apply(message({ version: 2, upserts: [client('a', 2), client('new', 2)] }));
  assert.deepEqual([directory.byName('a')?.versionUs, directory.byName('new')?.versionUs], [2, 2]);
  full({ last: true, version: 3, upserts: [client('new', 1)] });
  assert.deepEqual([directory.byName('a')?.versionUs, directory.byName('new')?.versionUs], [2, 2]);
  assert.equal(directory.byName('old'), null);
});

test('before the first full set nobody is known, whatever changes meanwhile', () => {
  const directory = new ClientDirectory(new FakeClock());
  directory.apply(message({ full: true, first: true, upserts: [client('a')] }));
  directory.apply(message({ version: 2, upserts: [client('b')] }));
  assert.deepEqual([directory.byName('b'), directory.clientCount, directory.generation], [null, 0, 0]);
  directory.apply(message({ full: true, last: true, version: 3 }));
  assert.deepEqual([directory.clientCount, directory.generation], [2, 1]);
});

test('a client is one object for as long as it does not change, whatever others do', () => {
  const directory = directoryOf('10.0.0.1', 'acme', '20.0.0.0/8');
  const before = ['10.0.0.1', '20.1.2.3'].map((address) => directory.byAddress(address, address).client);
  const acme = directory.byName('acme');
  const { generation } = directory;
  assert.equal(directory.byName('acme'), acme);
  assert.equal(directory.byAddress('acme', 'x').client, acme);
  directory.apply(message({ version: 2, upserts: [client('10.0.0.1', 2), client('other', 2)] }));
  assert.ok(directory.generation > generation);
  assert.equal(directory.byName('acme'), acme);
  assert.equal(directory.byAddress('20.9.9.9', '20.9.9.9').client, before[1]);
  assert.notEqual(directory.byAddress('10.0.0.1', '10.0.0.1').client, before[0]);
  assert.equal(directory.byName('10.0.0.1')?.versionUs, 2);
});

test('records that are none are refused as a whole', () => {
  const directory = directoryOf('a');
  const { records } = message({ upserts: [client('b'), client('c')] });
  for (const broken of [records.slice(0, -8), 'AAAA', Buffer.alloc(70_000, 1).toString('base64')]) {
    assert.equal(directory.apply(message({ version: 2, records: broken })), false);
  }
  assert.deepEqual([directory.clientCount, directory.version], [1, 1]);
});

test('tombstones that no bucket can need are forgotten within 1,024 calls', () => {
  const clock = new FakeClock();
  const directory = new ClientDirectory(clock);
  const dayMs = 86_400_000;
  const at = (days: number) => (NOW_MS - days * dayMs) * 1000;
  const tombstones = [
    { clientId: 'old', versionUs: at(32) },
    { clientId: 'young', versionUs: at(30) },
  ];
  directory.apply(message({ full: true, first: true, last: true, tombstones }));
  assert.equal(directory.byAddress('x', 'old').tombstoneUs, at(32));
  for (let i = 0; i < 1_024; i++) directory.forgetSome();
  assert.equal(directory.byAddress('x', 'old').tombstoneUs, 0);
  assert.equal(directory.byAddress('x', 'young').tombstoneUs, at(30));
});
