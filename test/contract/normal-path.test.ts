import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hasNul, isSuspect, normalPaths } from '../../src/contract/normal-path.ts';

const CASES: [path: string, forms: string[]][] = [
  ['/a/b', ['/a/b']],
  ['/', ['/']],
  ['/a/./b', ['/a/b']],
  ['/a/../b', ['/b']],
  ['/../../etc', ['/etc']],
  ['/a/..', ['/']],
  ['/a/b/.', ['/a/b/']],
  ['/a//b///c', ['/a/b/c']],
  ['/%61dmin', ['/admin']],
  ['/%2e%2E/x', ['/x']],
  ['/a%2fb', ['/a%2Fb']],
  ['/a/%2e%2e%2fb', ['/a/..%2Fb']],
  ['/%7euser/%5F', ['/~user/_']],
  ['/100%', ['/100%']],
  ['/..a/.b', ['/..a/.b']],
  ['/x/../admin//..', ['/', '/admin/']],
];

for (const [path, forms] of CASES) {
  test(`B27: the normal form of ${path} is ${forms.join(' or ')}`, () => {
    assert.deepEqual(normalPaths(path), forms);
  });
}

test('B27: a path without anything to normalize is its own only normal form', () => {
  const segment = fc.string({ unit: fc.constantFrom('a', '.', '%', '2', 'e', '/', '-'), maxLength: 12 });
  fc.assert(
    fc.property(segment, (text) => {
      const path = `/${text}`;
      if (!isSuspect(path)) assert.deepEqual(normalPaths(path), [path]);
    }),
    { numRuns: 2000 },
  );
});

test('B27: normalizing a normal form changes nothing', () => {
  const segment = fc.string({ unit: fc.constantFrom('a', '.', '%2E', '%2f', '/', 'b'), maxLength: 12 });
  fc.assert(
    fc.property(segment, (text) => {
      for (const form of normalPaths(`/${text}`)) assert.deepEqual(normalPaths(form), [form]);
    }),
    { numRuns: 2000 },
  );
});

test('B27: an encoded NUL is found', () => {
  assert.equal(hasNul('/a%00'), true);
  assert.equal(hasNul('/a%0'), false);
});
