/** The files and functions that the pages name must exist. (Sections: test/docs/site.test.ts.) */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { filesUnder } from '../support/imports.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const textOf = (path: string) => readFileSync(`${ROOT}${path}`, 'utf8');
const pages = [...filesUnder(ROOT, 'docs', '.md'), 'README.md', 'CONTRIBUTING.md', 'SECURITY.md'].map(
  (path) => ({
    path,
    text: textOf(path),
  }),
);
const architecture = textOf('docs/architecture.md');

test('every file that a page names exists', () => {
  const sources = filesUnder(ROOT, 'src', '.ts');
  const missing = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/`((?:[\w.-]+\/)*[\w.-]+\.(?:ts|lua|yaml))`/g)]
      .map(([, named = '']) => named)
      .filter((named) => !/\bNAME\b/.test(named))
      .filter(
        (named) => !existsSync(`${ROOT}${named}`) && !sources.some((file) => file.endsWith(`/${named}`)),
      )
      .map((named) => `${path}: ${named}`),
  );
  assert.deepEqual(missing, []);
});

test('no page has a placeholder', () => {
  const found = pages.flatMap(({ path, text }) =>
    (text.match(/@[A-Z]{2,}/g) ?? []).map((name) => `${path}: ${name}`),
  );
  assert.deepEqual(found, []);
});

test('every function in the paths of a request, of HTTP/1.1 and of HTTP/2, is in the file named beside it', () => {
  const rows = [...architecture.matchAll(/^\| \d+ \| `([^`]+)` \| ([^|]+) \|/gm)];
  assert.ok(rows.length > 20, `${rows.length} steps found`);
  const missing = rows.flatMap(([, file = '', functions = '']) =>
    [...functions.matchAll(/`([^`]+)`/g)]
      .map(([, name = '']) => name)
      .filter((name) => !new RegExp(`^.*(?<![\\w#.])${name}\\b.*[({]`, 'm').test(textOf(file)))
      .map((name) => `${file}: ${name}`),
  );
  assert.deepEqual(missing, []);
});

test('every method that the architecture names exists', () => {
  const sources = filesUnder(ROOT, 'src', '.ts').map(textOf);
  const missing = [...architecture.matchAll(/`([A-Z]\w+)\.(#?\w+)`/g)]
    .filter(([, owner, method]) => {
      const files = sources.filter((text) => new RegExp(`(class|interface) ${owner}\\b`).test(text));
      return !files.some((text) => new RegExp(`(?<![\\w#.])${method}\\b`).test(text));
    })
    .map(([name]) => name);
  assert.deepEqual(missing, []);
});
