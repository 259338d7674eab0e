/** docs/behaviours.md must match the tests and comments that cite it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { filesUnder } from '../support/imports.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CITATION = /\bB\d{1,2}\b/g;

const textOf = (path: string) => readFileSync(`${ROOT}${path}`, 'utf8');
const page = textOf('docs/behaviours.md');
const defined = [...page.matchAll(/^- <a id="b(\d+)"><\/a>\*\*B(\d+)\*\*/gm)].map(([, anchor, number]) => {
  assert.equal(anchor, number, 'the anchor and the number of a behaviour');
  return `B${number}`;
});

test('each behaviour is defined once', () => {
  assert.ok(defined.length > 20, `${defined.length} behaviours found`);
  assert.deepEqual(defined, [...new Set(defined)]);
});

test('every behaviour that a file cites is defined', () => {
  const files = [
    ...['src', 'test', 'bench', 'scripts', 'test_backs'].flatMap((folder) => filesUnder(ROOT, folder, '.ts')),
    ...filesUnder(ROOT, 'lua', '.lua'),
    ...filesUnder(ROOT, 'migrations', '.sql'),
    ...filesUnder(ROOT, 'docs', '.md'),
  ].filter((path) => path !== 'test/repository/behaviours.test.ts');
  const unknown = files.flatMap((path) =>
    [...new Set(textOf(path).match(CITATION))]
      .filter((number) => !defined.includes(number))
      .map((number) => `${path} cites ${number}`),
  );
  assert.deepEqual(unknown, []);
});

test('every behaviour is named by the title of a test', () => {
  // A title begins with the number, or is built from it ('B21' in a table of vectors).
  const starts = filesUnder(ROOT, 'test', '.test.ts').flatMap(
    (path) => textOf(path).match(/['"`]B\d{1,2}\b/g) ?? [],
  );
  const named = new Set(starts.map((start) => start.slice(1)));
  assert.deepEqual(
    defined.filter((number) => !named.has(number)),
    [],
  );
});
