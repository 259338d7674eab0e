/** How the dashboard writes numbers, times and the configuration. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { yamlOf } from '../../src/dashboard/pages/config/yaml-text.ts';
import { insertByTime } from '../../src/dashboard/pages/live/insert-by-time.ts';
import { bytesOf, countOf, msOf, percentOf, rateOf, spanOf } from '../../src/dashboard/parts/format.ts';

test('numbers are written as short as they can be read', () => {
  assert.deepEqual([0, 0.01, 3.25, 250, 12_345.6, null].map(rateOf), [
    '0',
    '< 0.1',
    '3.3',
    '250',
    '12,346',
    '–',
  ]);
  assert.deepEqual([0.123, 4.56, 12.3, 1_234, 65_000].map(msOf), [
    '0.12 ms',
    '4.6 ms',
    '12 ms',
    '1,234 ms',
    '65.0 s',
  ]);
  assert.deepEqual([0, 512, 1_536, 87_654_321].map(bytesOf), ['0 B', '512 B', '1.5 KiB', '84 MiB']);
  assert.deepEqual([0, 0.034, 0.5, 1].map(percentOf), ['0 %', '3.4 %', '50 %', '100 %']);
  assert.deepEqual([5, 125, 7_500, 200_000].map(spanOf), ['5 s', '2 min', '2 h 5 min', '2 d 7 h']);
  assert.equal(countOf(1_000_000), '1,000,000');
});

test('the configuration is shown as YAML that reads as the same configuration', () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      tie('leaf'),
      fc.array(tie('any'), { maxLength: 4 }),
      fc.dictionary(tie('key') as fc.Arbitrary<string>, tie('any'), { maxKeys: 4 }),
    ),
    key: fc
      .oneof(fc.stringMatching(/^[a-z][A-Za-z0-9.:-]{0,9}$/), fc.string())
      .filter((key) => key !== '__proto__'),
    leaf: fc.oneof(
      fc.string(),
      fc.boolean(),
      fc.integer(),
      fc.constant(null),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
    ),
  })).any;
  fc.assert(
    fc.property(value, (each) => {
      const plain = JSON.parse(JSON.stringify(each));
      assert.deepEqual(parse(yamlOf(plain)), plain);
    }),
    { seed: 1, numRuns: 500 },
  );
});

test('the newest request comes first, also where one worker sends later than another', () => {
  const timesAfter = (times: string[], time: string) =>
    insertByTime(
      times.map((of) => ({ time: of })),
      { time },
      3,
    ).map((item) => item.time);
  assert.deepEqual(timesAfter([], '2'), ['2']);
  assert.deepEqual(timesAfter(['3', '1'], '2'), ['3', '2', '1']);
  assert.deepEqual(timesAfter(['3', '2', '1'], '4'), ['4', '3', '2']);
  assert.deepEqual(timesAfter(['4', '3', '2'], '1'), ['4', '3', '2'], 'no room for the oldest');
});
