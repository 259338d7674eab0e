import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { responseProblem, trailerProblem } from '../../src/http2/field-rules.ts';
import { block, type Fields } from '../support/h2-frames.ts';
import { Nghttp2Client } from './nghttp2.ts';

const answer = (status: string, ...more: Fields): Fields => [[':status', status], ...more];
const length = (value: string): [string, string] => ['content-length', value];

const MALFORMED: Record<string, Fields> = {
  nothing: [],
  'no :status': [['x', '1']],
  'a :status behind other fields': [['x', '1'], ...answer('200')],
  'two :status': [...answer('200'), ...answer('200')],
  'another pseudo-header field': answer('200', [':path', '/']),
  'a :status of two digits': answer('20'),
  'a :status of four digits': answer('2000'),
  'a :status with a letter': answer('20x'),
  'an empty :status': answer(''),
  'the status 101': answer('101'),
  'a field connection': answer('200', ['connection', 'close']),
  'a field keep-alive': answer('200', ['keep-alive', 'x']),
  'a field proxy-connection': answer('200', ['proxy-connection', 'x']),
  'a field transfer-encoding': answer('200', ['transfer-encoding', 'chunked']),
  'a field upgrade': answer('200', ['upgrade', 'x']),
  'a te other than trailers': answer('200', ['te', 'gzip']),
  'two content-lengths': answer('200', length('5'), length('5')),
  'a content-length that is no number': answer('200', length('5,5')),
  'a content-length with 204': answer('204', length('5')),
};

const GOOD: Record<string, Fields> = {
  '200': answer('200', ['x', ''], length('5')),
  'a status that nobody knows': answer('999'),
  'a content-length of 0 with 204': answer('204', length('0')),
};

/** Whether nghttp2 takes the head; the body follows. */
async function isTaken(client: Nghttp2Client, fields: Fields): Promise<boolean> {
  const verdict = await client.judge(block(fields), false);
  assert.notEqual(verdict, 'broken');
  return verdict !== 'reset';
}

test('malformed answers are refused, and by nghttp2 too', async (t) => {
  const client = new Nghttp2Client();
  t.after(() => client.close());
  for (const [name, fields] of Object.entries(MALFORMED)) {
    assert.notEqual(responseProblem(fields.flat()), null, name);
    assert.equal(await isTaken(client, fields), false, name);
  }
});

test('answers that are not malformed pass, and pass nghttp2 too', async (t) => {
  const client = new Nghttp2Client();
  t.after(() => client.close());
  for (const [name, fields] of Object.entries(GOOD)) {
    assert.equal(responseProblem(fields.flat()), null, name);
    assert.equal(await isTaken(client, fields), true, name);
  }
});

test('no status begins with 0, though some versions of nghttp2 take it', () => {
  assert.notEqual(responseProblem([':status', '099']), null);
});

test('interim answers have no content-length', () => {
  assert.equal(responseProblem([':status', '103', 'link', 'x']), null);
  assert.notEqual(responseProblem([':status', '103', 'content-length', '0']), null);
});

test('of made-up answers nghttp2 accepts and refuses the same', async (t) => {
  const status = fc.oneof(
    fc.constantFrom('200', '204', '304', '404', '101', ''),
    fc.string({ unit: 'binary-ascii', maxLength: 3 }).filter((text) => !text.startsWith('0')),
  );
  const field = fc.tuple(
    fc.constantFrom(
      ':status',
      ':path',
      'content-length',
      'te',
      'upgrade',
      'connection',
      'host',
      'x',
      'keep-alive',
    ),
    fc.constantFrom('', '0', '5', '200', 'trailers', 'gzip', '5x', '/', 'a b'),
  );
  const made = fc.tuple(fc.integer({ min: 0, max: 9 }), status, fc.array(field, { maxLength: 3 }));
  let client = new Nghttp2Client();
  t.after(() => client.close());
  const counts = { taken: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(made, async ([front, code, more]) => {
      const fields = front === 0 ? more : answer(code, ...more);
      if (client.isWorn) {
        client.close();
        client = new Nghttp2Client();
      }
      const isGood = responseProblem(fields.flat()) === null;
      assert.equal(await isTaken(client, fields), isGood);
      counts[isGood ? 'taken' : 'refused']++;
    }),
    { numRuns: 1_500 },
  );
  assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
});

test('trailers have no pseudo-header fields and none of the connection', () => {
  assert.equal(trailerProblem([]), null);
  assert.equal(trailerProblem(['grpc-status', '0', 'x', '']), null);
  for (const name of [
    ':status',
    ':path',
    'connection',
    'transfer-encoding',
    'upgrade',
    'keep-alive',
    'proxy-connection',
  ]) {
    assert.notEqual(trailerProblem(['x', '1', name, '200']), null, name);
  }
});
