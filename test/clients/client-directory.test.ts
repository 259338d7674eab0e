import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { digestOf, makeApiKey, makeSigningSecret } from '../../src/clients/api-key.ts';
import { ClientDirectory, type ClientsMessage } from '../../src/clients/client-directory.ts';
import { canonicalClientId } from '../../src/clients/client-record.ts';
import { RecordPacker } from '../../src/clients/packed-record.ts';
import { groupOf } from '../../src/contract/addresses.ts';
import type { ClientRecord } from '../../src/contract/clients.ts';
import { clientCountOf, keyCountOf } from './counts.ts';

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

const packer = new RecordPacker();

interface Parts {
  upserts?: ClientRecord[];
  tombstones?: Pick<ClientRecord, 'clientId' | 'versionUs'>[];
}

/** A message with changes, unless the fields say otherwise. */
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
    begins: false,
    complete: false,
    records: Buffer.concat(records).toString('base64'),
    ...fields,
  };
}

function directoryOf(...ids: string[]): ClientDirectory {
  const directory = new ClientDirectory(new FakeClock());
  directory.apply(message({ complete: true, upserts: ids.map((id) => client(id)) }));
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

test('the longest prefix is the one that a linear search finds', () => {
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

test('the version of a deleted client stays with its bucket, which an anonymous caller then uses', () => {
  const directory = directoryOf('1.2.3.4', '10.0.0.0/8', 'acme');
  const bury = (clientId: string, versionUs: number) => message({ tombstones: [{ clientId, versionUs }] });
  directory.apply(bury('1.2.3.4', 5));
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

  directory.apply(message({ upserts: [client('1.2.3.4', 7)] }));
  assert.deepEqual(directory.byAddress('1.2.3.4', 'x'), {
    client: client('1.2.3.4', 7),
    bucketName: '1.2.3.4',
    tombstoneUs: 0,
  });
  // A restored backup: the primary's last message counts, even with an older version.
  directory.apply(message({ upserts: [client('1.2.3.4', 6)] }));
  assert.equal(directory.byAddress('1.2.3.4', 'x').client?.versionUs, 6);
});

test('no client is known before the first set is complete, and all are known after it', () => {
  const directory = new ClientDirectory(new FakeClock());
  const nobody = () => [
    directory.byName('a'),
    directory.byName('b'),
    clientCountOf(directory.table),
    directory.generation,
  ];
  assert.ok(directory.apply(message({ upserts: [client('a'), client('gone')] })));
  assert.deepEqual(nobody(), [null, null, 0, 0]);
  // Changes between the parts, of a client already sent and of one not yet sent.
  directory.apply(message({ upserts: [client('a', 2)], tombstones: [{ clientId: 'gone', versionUs: 2 }] }));
  assert.deepEqual(nobody(), [null, null, 0, 0]);
  directory.apply(
    message({ complete: true, upserts: [client('b')], tombstones: [{ clientId: 'c', versionUs: 3 }] }),
  );
  assert.deepEqual([clientCountOf(directory.table), directory.generation], [2, 1]);
  assert.deepEqual([directory.byName('a')?.versionUs, directory.byName('b')?.versionUs], [2, 1]);
  assert.deepEqual([directory.byName('gone'), directory.byAddress('z', 'c').tombstoneUs], [null, 3]);
  // From now on every message takes effect at once.
  directory.apply(message({ upserts: [client('new')] }));
  assert.ok(directory.byName('new'));
});

test('an unchanged client stays the same object while others change', () => {
  const directory = directoryOf('10.0.0.1', 'acme', '20.0.0.0/8');
  const before = ['10.0.0.1', '20.1.2.3'].map((address) => directory.byAddress(address, address).client);
  const acme = directory.byName('acme');
  const { generation } = directory;
  assert.equal(directory.byName('acme'), acme);
  assert.equal(directory.byAddress('acme', 'x').client, acme);
  directory.apply(message({ upserts: [client('10.0.0.1', 2), client('other', 2)] }));
  assert.ok(directory.generation > generation);
  assert.equal(directory.byName('acme'), acme);
  assert.equal(directory.byAddress('20.9.9.9', '20.9.9.9').client, before[1]);
  assert.notEqual(directory.byAddress('10.0.0.1', '10.0.0.1').client, before[0]);
  assert.equal(directory.byName('10.0.0.1')?.versionUs, 2);
});

test('a message with a malformed record is refused as a whole', () => {
  const directory = directoryOf('a');
  const { records } = message({ upserts: [client('b'), client('c')] });
  for (const broken of [records.slice(0, -8), 'AAAA', Buffer.alloc(70_000, 1).toString('base64')]) {
    assert.equal(directory.apply(message({ records: broken })), false);
  }
  assert.deepEqual([clientCountOf(directory.table), directory.generation], [1, 1]);
});

test('tombstones that no bucket needs any more are removed within 1,024 calls', () => {
  const clock = new FakeClock();
  const directory = new ClientDirectory(clock);
  const dayMs = 86_400_000;
  const at = (days: number) => (NOW_MS - days * dayMs) * 1000;
  const tombstones = [
    { clientId: 'old', versionUs: at(32) },
    { clientId: 'young', versionUs: at(30) },
  ];
  directory.apply(message({ complete: true, tombstones }));
  assert.equal(directory.byAddress('x', 'old').tombstoneUs, at(32));
  for (let i = 0; i < 1_024; i++) directory.advance();
  assert.equal(directory.byAddress('x', 'old').tombstoneUs, 0);
  assert.equal(directory.byAddress('x', 'young').tombstoneUs, at(30));
});

test('an API key identifies its client until it is revoked, moved, or the secret changes', () => {
  const directory = directoryOf('acme', 'other');
  const keys = directory;
  const secret = makeSigningSecret('a secret');
  const { key } = makeApiKey();
  const digest = digestOf(secret.key, key);
  const tell = (record: Buffer) => directory.apply(message({ records: record.toString('base64') }));
  const owned = (clientId: string) => packer.apiKey({ digest, clientId, secretId: secret.id });
  const found = () => {
    const verified = keys.verify(key);
    assert.ok(typeof verified === 'object' && !verified.revoked);
    return verified;
  };
  assert.equal(keys.verify('a key of somebody else'), 'malformed');
  tell(owned('acme'));
  assert.equal(keys.verify(key), 'unknown', 'there is no secret yet');
  keys.useSecret('a secret');
  const first = found();
  assert.deepEqual(keys.byName(first.clientId), client('acme'));
  tell(packer.client(client('third', 2)));
  assert.equal(first.revoked, false, 'another change');
  tell(owned('other'));
  assert.equal(first.revoked, true);
  const second = found();
  assert.equal(second.clientId, 'other');
  keys.useSecret('another secret');
  assert.deepEqual([second.revoked, keys.verify(key)], [true, 'unknown']);
  keys.useSecret('a secret');
  const third = found();
  tell(packer.apiKeyTombstone(digest, 1));
  assert.deepEqual([third.revoked, keys.verify(key), keyCountOf(directory.table)], [true, 'unknown', 0]);
});

test('when a client was seen is kept by a change and by a new set of all clients, and forgotten when it is deleted', () => {
  const clock = new FakeClock();
  const directory = new ClientDirectory(clock);
  const nowSec = NOW_MS / 1000;
  directory.apply(message({ complete: true, upserts: [client('acme'), client('10.0.0.0/8'), client('b')] }));
  const seen = () => directory.seenSecs(['acme', '10.0.0.0/8', 'b', 'nobody', 'x'.repeat(300)]);
  directory.noteSeen('acme');
  directory.noteSeen('nobody');
  clock.nowMs = 2_000;
  directory.noteSeen('b');
  assert.deepEqual(seen(), [nowSec, 0, nowSec, 0, 0], 'the second is renewed once a second');
  directory.advance();
  directory.noteSeen('10.0.0.0/8');
  assert.deepEqual(seen(), [nowSec, nowSec + 2, nowSec, 0, 0]);
  const blocked: ClientRecord = { ...client('acme', 2), mode: 'blocked' };
  const longer = { ...client('b', 2), limits: { gold: { capacity: 5, refillPerSecond: 1 } } };
  directory.apply(message({ upserts: [blocked, longer] }));
  // So many that records move.
  const many = Array.from({ length: 5_000 }, (_, i) => client(`client-${i}`));
  for (let i = 0; i < many.length; i += 500) directory.apply(message({ upserts: many.slice(i, i + 500) }));
  assert.deepEqual(seen(), [nowSec, nowSec + 2, nowSec, 0, 0]);
  directory.apply(message({ begins: true, upserts: [client('acme', 3), client('b', 3)] }));
  clock.nowMs = 4_000;
  directory.advance();
  directory.noteSeen('acme');
  directory.noteSeen('10.0.0.0/8');
  directory.apply(message({ complete: true, upserts: [client('10.0.0.0/8', 3)] }));
  assert.deepEqual(seen(), [nowSec + 4, nowSec + 4, nowSec, 0, 0]);
  directory.apply(message({ tombstones: [{ clientId: 'acme', versionUs: 4 }] }));
  directory.apply(message({ upserts: [client('acme', 5)] }));
  assert.deepEqual(seen(), [0, nowSec + 4, nowSec, 0, 0]);
});
