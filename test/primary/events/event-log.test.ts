import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventEntry } from '../../../src/contract/events.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { FakeTime } from '../../support/fake-time.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

function start() {
  const { logger, lines } = keepLog();
  const time = new FakeTime();
  time.nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
  const log = new EventLog(logger, time.clock);
  return { log, lines, time };
}

test('an event is kept, told, and a line of the log', () => {
  const { log, lines, time } = start();
  const told: EventEntry[] = [];
  const stop = log.onEvent((entry) => told.push(entry));
  const err = new Error('no memory');
  log.record(
    {
      kind: 'worker',
      severity: 'error',
      text: 'worker 1 died',
      subject: 'worker 1',
      data: { worker: 1, err },
    },
    { line: 'worker died' },
  );
  log.record({ kind: 'instance', severity: 'info', text: 'ready' }, { line: null });
  stop();
  log.record({ kind: 'instance', severity: 'warning', text: 'draining', data: { signal: 'SIGTERM' } });
  const [first, second, third] = log.entries;
  assert.deepEqual(first, {
    number: time.nowMs + 1,
    at: '2026-01-02T03:04:05.000Z',
    kind: 'worker',
    severity: 'error',
    text: 'worker 1 died',
    subject: 'worker 1',
    actor: null,
    data: { worker: 1, err: 'no memory' },
  });
  assert.deepEqual(told, [first, second]);
  assert.deepEqual(log.since(first?.number ?? 0), [second, third]);
  assert.deepEqual(
    lines.map(({ level, msg, worker, signal }) => [level, msg, worker ?? signal]),
    [
      [50, 'worker died', 1],
      [40, 'draining', 'SIGTERM'],
    ],
  );
  assert.match(JSON.stringify(lines[0]), /no memory/);
});

test('1,000 events are kept, and those of one kind push no other kind out', () => {
  const { log } = start();
  for (let i = 0; i < 20; i++) log.record({ kind: 'backend_state', severity: 'info', text: `state ${i}` });
  for (let i = 0; i < 5_000; i++) log.record({ kind: 'admin', severity: 'info', text: `write ${i}` });
  assert.equal(log.entries.length, 1_000);
  assert.equal(log.entries.filter(({ kind }) => kind === 'backend_state').length, 20);
  assert.equal(log.entries.at(-1)?.text, 'write 4999');
  const numbers = log.entries.map(({ number }) => number);
  assert.deepEqual(
    numbers,
    [...numbers].sort((a, b) => a - b),
  );
});

test('an event has a bound, whatever others put into it', () => {
  const { log } = start();
  const long = 'x'.repeat(100_000);
  const data = { long, list: Array.from({ length: 10_000 }, (_, i) => i), gone: undefined };
  log.record({ kind: 'admin', severity: 'info', text: long, data }, { line: null });
  assert.ok(JSON.stringify(log.entries).length < 6_000);
});

test('a fact that is too long stays what it was, and says what was left out', () => {
  const { log } = start();
  const limits = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`policy-${i}`, { capacity: i }]));
  const before = { clientId: 'acme', limits, mode: 'limit' };
  const deep = JSON.parse(`${'['.repeat(3_000)}${']'.repeat(3_000)}`);
  const problems = Array.from({ length: 9 }, () => ({ message: '\x01"'.repeat(600), line: 1 }));
  log.record({ kind: 'admin', severity: 'info', text: 'long', data: { before, deep, problems } });
  const data = log.entries[0]?.data as { before: typeof before; problems: typeof problems };
  for (const [name, fact] of Object.entries(data))
    assert.ok(JSON.stringify(fact).length <= 2_000, `${name} has no bound`);
  assert.equal(data.before.clientId, 'acme');
  assert.deepEqual(data.before.limits['policy-0'], { capacity: 0 });
  assert.match(JSON.stringify(data.before), /"…":"… 2\d\d more"/);
  assert.match(JSON.stringify(data.problems), /…",?.*"… \d+ more"/);
});
