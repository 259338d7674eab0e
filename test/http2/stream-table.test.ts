import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Stream } from '../../src/http2/stream.ts';
import { StreamTable } from '../../src/http2/stream-table.ts';

/** Numbers that meet in the same slots, and some that lie far apart. */
const anyId = fc
  .oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 2 ** 30 - 1 }))
  .map((n) => 2 * n + 1);

test('a table has the streams that a Map has, whatever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyId, fc.boolean()), { maxLength: 300 }), (steps) => {
      const table = new StreamTable();
      const model = new Map<number, Stream>();
      for (const [id, isAdded] of steps) {
        if (isAdded && !model.has(id)) {
          const stream = { id } as Stream;
          model.set(id, stream);
          table.add(stream);
        } else if (!isAdded) assert.equal(table.delete(id), model.delete(id));
        assert.equal(table.get(id), model.get(id));
        assert.equal(table.size, model.size);
      }
      for (const [id, stream] of model) assert.equal(table.get(id), stream);
      assert.deepEqual(new Set(table.list()), new Set(model.values()));
    }),
    { numRuns: 500 },
  );
});
