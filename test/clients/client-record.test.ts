import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalClientId, clientRecordOf, versionOf } from '../../src/clients/client-record.ts';
import { packRow } from '../../src/clients/directory-reader.ts';
import { RecordPacker } from '../../src/clients/packed-record.ts';

test('an id has one canonical form: names as they are, addresses by RFC 5952, ranges without host bits', () => {
  const forms: [string, string][] = [
    ['acme', 'acme'],
    ['Acme.Corp_1:eu@x-y', 'Acme.Corp_1:eu@x-y'],
    ['x'.repeat(128), 'x'.repeat(128)],
    ['1.2.3', '1.2.3'],
    ['...', '...'],
    ['1.2.3.4', '1.2.3.4'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['::FFFF:102:304', '1.2.3.4'],
    ['2001:DB8:0:0:0::1', '2001:db8::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::', '::'],
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3/9', '10.0.0.0/9'],
    ['10.255.2.3/9', '10.128.0.0/9'],
    ['1.2.3.4/32', '1.2.3.4'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8:1:2:3::/64', '2001:db8:1:2::/64'],
    ['2001:db8::1/128', '2001:db8::1'],
    ['2001:db8:ffff::/33', '2001:db8:8000::/33'],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
    ['::/0', '::/0'],
  ];
  for (const [given, canonical] of forms) {
    assert.equal(canonicalClientId(given), canonical, given);
    assert.equal(canonicalClientId(canonical), canonical, `${canonical} is canonical`);
  }
});

test('all other texts are no ids', () => {
  const bad = [
    '',
    'x'.repeat(129),
    '.',
    '..',
    'a b',
    'a/b',
    '/',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '2001:db8::/129',
    'fe80::1%eth0',
    'fe80::%1/64',
    'ünïcode',
    'a\n',
    '\u0000',
    'a%2Fb',
    '10.0.0.0/8 ',
    "x'--",
  ];
  for (const text of bad) assert.equal(canonicalClientId(text), null, JSON.stringify(text));
});

const ROW = {
  client_id: 'a',
  mode: 'limit',
  capacity: null,
  refill_per_second: null,
  limits: {},
  version_us: '1795512364364270',
};

test('a row becomes a record; its capacity and refill are limits of the policy `default`', () => {
  assert.deepEqual(clientRecordOf(ROW), {
    clientId: 'a',
    mode: 'limit',
    limits: {},
    versionUs: 1795512364364270,
  });
  const other = { capacity: 3, refillPerSecond: 0.5 };
  assert.deepEqual(
    clientRecordOf({ ...ROW, capacity: 9, refill_per_second: 2, limits: { p: other } }).limits,
    {
      default: { capacity: 9, refillPerSecond: 2 },
      p: other,
    },
  );
  assert.equal(versionOf({ client_id: 'a', version_us: '7' }), 7);
});

test('an invalid row is an error, never a wrong limit', () => {
  const bad = [
    { ...ROW, client_id: null },
    { ...ROW, mode: 'other' },
    { ...ROW, limits: null },
    { ...ROW, limits: { p: { capacity: 1 } } },
    { ...ROW, limits: { p: { capacity: '1', refillPerSecond: 1 } } },
    { ...ROW, version_us: null, client_id: 'b', mode: 'limit', limits: [1] },
    { ...ROW, version_us: 'x' },
  ];
  for (const row of bad)
    assert.throws(() => clientRecordOf(row), { code: 'schema_mismatch' }, JSON.stringify(row));
  const digest = Buffer.alloc(32);
  const strange = [
    { kind: 'client-tombstone', client_id: 1, version_us: '1' },
    { kind: 'client-tombstone', client_id: 'a', version_us: 'x' },
    { kind: 'key-tombstone', digest: 'a', version_us: '1' },
    { kind: 'key', digest, client_id: 'a', secret_id: null },
  ];
  for (const row of strange)
    assert.throws(() => packRow(new RecordPacker(), row), { code: 'schema_mismatch' }, JSON.stringify(row));
});
