/** The versions for `make test-node`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowedLines, chooseVersions } from '../../scripts/node-releases.ts';

const ENGINES = '>=24.18.1 <25 || >=26.5.1';
const PUBLISHED = [
  '24.9.0',
  '24.18.0',
  '24.18.1',
  '24.20.0',
  '24.22.3',
  '25.9.0',
  '26.5.0',
  '26.9.0',
  '26.10.0',
];

test('a line of engines lists the releases that it allows, in numeric order', () => {
  const [line24, line26] = allowedLines(ENGINES, PUBLISHED.toReversed());
  assert.deepEqual(line24, ['24.18.1', '24.20.0', '24.22.3']);
  assert.deepEqual(line26, ['26.9.0', '26.10.0']);
  assert.deepEqual(allowedLines(ENGINES, ['26.6.0-rc.1', '26.6.0']), [[], ['26.6.0']], 'no preview');
});

test('an unreadable `engines` is an error', () => {
  assert.throws(() => allowedLines('^26.5.1', PUBLISHED), /do not know \^26\.5\.1/);
});

test('versions are chosen by keywords, each once', () => {
  const chosen = (...words: string[]) => chooseVersions(words, ENGINES, PUBLISHED);
  assert.deepEqual(chosen('ends'), ['24.18.1', '24.22.3', '26.9.0', '26.10.0']);
  assert.deepEqual(chosen('lowest'), ['24.18.1']);
  assert.deepEqual(chosen('all'), ['24.18.1', '24.20.0', '24.22.3', '26.9.0', '26.10.0']);
  assert.deepEqual(chosen('26.9.0', 'lowest', '26.9.0'), ['26.9.0', '24.18.1']);
  for (const word of ['25.9.0', '26.5.0', '26.11.0', 'v26.9.0', 'newest'])
    assert.throws(() => chosen(word), new RegExp(`${word} is not a published`));
});

test('a line without a published release has no ends', () => {
  assert.deepEqual(chooseVersions(['ends'], ENGINES, ['26.9.0']), ['26.9.0']);
});
