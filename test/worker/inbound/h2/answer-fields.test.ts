import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerFields } from '../../../../src/worker/inbound/h2/answer-fields.ts';

test('the status comes first, lines keep their order and values, and a known length comes last', () => {
  const lines = 'X-A: 1\r\nSet-Cookie: a=b; c\r\nX-Empty: \r\nset-cookie: d:e\r\n';
  const fields = [':status', '404', 'X-A', '1', 'Set-Cookie', 'a=b; c', 'X-Empty', '', 'set-cookie', 'd:e'];
  assert.deepEqual(answerFields(404, lines, -1), fields);
  assert.deepEqual(answerFields(404, lines, 0), [...fields, 'content-length', '0']);
  assert.deepEqual(answerFields(200, '', 12), [':status', '200', 'content-length', '12']);
});
