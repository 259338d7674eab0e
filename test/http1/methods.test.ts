import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { KNOWN_METHODS } from '../../src/http1/request-head.ts';

test('the methods that are understood are those that node understands', () => {
  assert.deepEqual([...KNOWN_METHODS].sort(), [...METHODS].sort());
});
