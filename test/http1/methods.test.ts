import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { KNOWN_METHODS } from '../../src/http1/request-head-reader.ts';

test('the accepted methods are those of node:http', () => {
  assert.deepEqual([...KNOWN_METHODS].sort(), [...METHODS].sort());
});
