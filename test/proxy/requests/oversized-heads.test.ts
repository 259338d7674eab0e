import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { startProxy } from '../support.ts';

const CASES: [title: string, pieces: string[], status: number][] = [
  ['a target that comes in two reads', [`GET /${'a'.repeat(9_000)}`, 'a'.repeat(40_000)], 414],
  [
    'a field that comes in two reads',
    ['GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b', '; c=d'.repeat(8_000)],
    431,
  ],
  [
    'fields that come in two reads',
    ['GET / HTTP/1.1\r\nHost: a\r\n', `X: ${'y'.repeat(9_000)}\r\n`.repeat(4)],
    431,
  ],
  ['a target after a valid request', [`GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /${'a'.repeat(40_000)}`], 414],
  ['more fields than any server should read', [`GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(4_000)}`], 431],
];

for (const [title, pieces, status] of CASES) {
  test(`B19: ${title} over the parser’s cap gets ${status}, however it arrives`, async (t) => {
    const proxy = await startProxy(t, { backends: [] });
    const client = await proxy.connect();
    for (const piece of pieces) {
      client.write(piece);
      // Once a later request on another connection is answered, the piece was read.
      const witness = await proxy.connect();
      witness.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      await witness.readResponse();
    }
    let answer = await client.readResponse();
    if (answer.status === 503) answer = await client.readResponse();
    assert.equal(answer.status, status);
    assert.ok(answer.header('x-request-id'));
    await client.waitForClose();
    await waitFor('its access line', () => proxy.lines.some((line) => line.status === status));
  });
}
