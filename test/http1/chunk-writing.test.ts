import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lastChunk } from '../../src/http1/chunk-writing.ts';

test('invalid and forbidden trailers are left out', () => {
  assert.equal(
    lastChunk(['X-A', '1', 'X-B', 'a\r\nHost: evil', 'X-C', '\0', 'Host', 'a', 'X-D', '\ta\xe9', 'X-E']),
    '0\r\nX-A: 1\r\nX-D: \ta\xe9\r\n\r\n',
  );
});
