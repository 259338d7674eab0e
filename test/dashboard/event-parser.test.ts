import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventParser, type ServerEvent } from '../../src/dashboard/api/event-parser.ts';

const TEXT =
  ': hello\n\nevent: sample\ndata: {"a":1}\n\nid: 7\nevent: change\ndata: one\ndata: two\n\nid: 8\nevent: empty\n\ndata:x\r\n\r\n';

function parsed(pieces: string[]): ServerEvent[] {
  const events: ServerEvent[] = [];
  const parser = new EventParser((event) => events.push(event));
  for (const piece of pieces) parser.push(piece);
  return events;
}

test('events are read from pieces of any size', () => {
  const expected = [
    { type: 'sample', data: '{"a":1}', id: null },
    { type: 'change', data: 'one\ntwo', id: '7' },
    { type: 'message', data: 'x', id: '8' },
  ];
  assert.deepEqual(parsed([TEXT]), expected);
  assert.deepEqual(parsed([...TEXT]), expected);
});

test('an event that does not end is bounded', () => {
  const parser = new EventParser(() => undefined);
  assert.throws(() => {
    for (let round = 0; round < 20; round++) parser.push('x'.repeat(1024 * 1024));
  }, /too large/);
});
