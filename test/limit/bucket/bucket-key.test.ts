import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bucketKey, hashBucketName, probeKey, storeKeyPrefix } from '../../../src/limit/bucket/bucket-key.ts';

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string(),
  fc.stringMatching(/^[{}:\r\n %\ud800\u0000a]*$/),
);

test('bucket keys look like <prefix>:rl1:{<hash>}:<policy>', () => {
  const key = storeKeyPrefix('sluice') + bucketKey(hashBucketName('203.0.113.7'), 'default');
  assert.match(key, /^sluice:rl1:\{[A-Za-z0-9_-]{22}\}:default$/);
});

test('bucket keys never contain a brace, colon, space or control character of an input', () => {
  fc.assert(
    fc.property(text, text, text, (prefix, name, policy) => {
      const key = storeKeyPrefix(prefix) + bucketKey(hashBucketName(name), policy);
      assert.match(key, /^[A-Za-z0-9._:%-]*:rl1:\{[A-Za-z0-9_-]{22}\}:[A-Za-z0-9._%-]*$/);
    }),
  );
});

test('bucket keys differ if the name, its kind or the policy differs', () => {
  fc.assert(
    fc.property(text, text, text, text, (name, policy, otherName, otherPolicy) => {
      const same = bucketKey(hashBucketName(name), policy);
      const other = bucketKey(hashBucketName(otherName), otherPolicy);
      const wellFormed = name.isWellFormed() && otherName.isWellFormed();
      if (wellFormed) assert.equal(same === other, name === otherName && policy === otherPolicy);
      assert.notEqual(same, probeKey(Number(policy.length)));
    }),
  );
});
