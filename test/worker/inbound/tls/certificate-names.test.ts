/** B40: which certificate a client gets for the name that it asks for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CertificateNames } from '../../../../src/worker/inbound/tls/certificate-names.ts';

function namesOf(certificates: Record<string, string[]>): CertificateNames<string> {
  const names = new CertificateNames<string>();
  for (const [certificate, own] of Object.entries(certificates))
    for (const name of own) names.add(name, certificate);
  return names;
}

test('B40: an exact name goes before a wildcard, in any case of letters', () => {
  const names = namesOf({ wild: ['*.example.com'], one: ['one.example.com'] });
  assert.equal(names.find('one.example.com'), 'one');
  assert.equal(names.find('ONE.Example.COM'), 'one');
  assert.equal(names.find('Two.example.com'), 'wild');
});

test('B40: a wildcard stands for exactly one label', () => {
  const names = namesOf({ wild: ['*.example.com'], local: ['localhost'], lan: ['*.lan'] });
  for (const name of ['example.com', 'a.b.example.com', '.com', 'com', '', 'lan', '.lan'])
    assert.equal(names.find(name), undefined, name);
  assert.equal(names.find('localhost'), 'local');
  assert.equal(names.find('a.lan'), 'lan');
  assert.equal(names.find('a.localhost'), undefined);
});

test('B40: of several certificates for a name the first one stays', () => {
  const names = namesOf({ first: ['a.test', '*.a.test'], second: ['a.test', '*.a.test', 'b.test'] });
  assert.deepEqual(
    ['a.test', 'x.a.test', 'b.test'].map((name) => names.find(name)),
    ['first', 'first', 'second'],
  );
});
