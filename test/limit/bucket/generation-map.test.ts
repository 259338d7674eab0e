import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GenerationMap } from '../../../src/limit/bucket/generation-map.ts';

test('an entry that is used stays, others go, and there are never more than the bound', () => {
  const map = new GenerationMap<number>(10);
  map.set('used', -1);
  for (let i = 0; i < 100; i++) {
    map.set(`flood-${i}`, i);
    assert.equal(map.get('used'), -1, `after ${i}`);
    assert.ok([...map.values()].length <= 10);
  }
  assert.deepEqual([map.get('flood-99'), map.get('flood-50')], [99, undefined]);
});
