import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultLog } from '../../../src/infra/logging/fault-log.ts';
import { FakeTime } from '../../support/fake-time.ts';

test('faults of more than 100 kinds in a second have no line, and the next line says how many they were', () => {
  const time = new FakeTime();
  const lines: object[] = [];
  const log = new FaultLog(time.clock, (facts) => lines.push(facts));
  for (let kind = 0; kind < 130; kind++) for (const times of [1, 2]) log.note(`${kind}`, { kind, times });
  assert.equal(lines.length, 100);
  time.nowMs = 1_000;
  for (const kind of [7, 8]) log.note(`${kind}`, { kind });
  assert.deepEqual(lines.slice(100), [{ kind: 7, leftOut: 60 }, { kind: 8 }]);
});
