/** Rules across files: allowed imports, lengths of files, and what file names promise. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cyclesIn, filesUnder, importsOf, problemsOfArrow } from './support/imports.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** A file holds one thing. Nearly all things fit into this many lines. */
const ADVISED_LINES = 250;
const SOURCES = [...filesUnder(ROOT, 'src', '.ts'), ...filesUnder(ROOT, 'src', '.tsx')];

const textOf = (path: string) => readFileSync(`${ROOT}${path}`, 'utf8');
const graph = new Map(SOURCES.map((path) => [path, importsOf(path, textOf(path))]));

test('the rules find wrong imports and cycles', () => {
  const wrong = (from: string, to: string) => problemsOfArrow(from, to).length > 0;
  assert.ok(wrong('src/contract/a.ts', 'src/infra/b.ts'), 'contract must not import infra');
  assert.ok(wrong('src/infra/a.ts', 'src/config/b.ts'), 'siblings of one layer');
  assert.ok(wrong('src/primary/a.ts', 'src/worker/b.ts'), 'primary must not import worker');
  assert.ok(wrong('src/worker/a.ts', 'src/primary/b.ts'), 'worker must not import primary');
  assert.ok(wrong('src/limit/a.ts', 'src/proxy/b.ts'), 'upwards');
  assert.ok(wrong('src/limit/a.ts', 'test/support/wait.ts'), 'out of src');
  assert.ok(wrong('src/contract/a.ts', 'pg'), 'contract knows no driver');
  assert.ok(wrong('src/basement/a.ts', 'src/contract/b.ts'), 'a folder without a layer');
  assert.ok(wrong('src/primary/admin/a.ts', 'src/dashboard/b.ts'), 'the dashboard is for browsers');
  assert.ok(wrong('src/dashboard/a.ts', 'src/infra/b.ts'), 'a browser has no node');
  assert.ok(wrong('src/dashboard/a.ts', 'zod'), 'a package that the browser would have to load');
  assert.ok(!wrong('src/dashboard/a.tsx', 'src/contract/b.ts'));
  assert.ok(!wrong('src/primary/admin/a.ts', 'src/primary/b.ts'));
  assert.ok(!wrong('src/cli.ts', 'src/primary/main.ts'));
  assert.ok(!wrong('src/proxy/a.ts', 'src/upstream/b.ts'));
  const text = `import a from './a.ts';
import {
  type B,
  b,
} from '../infra/b.ts';
import type { C } from "./c.ts";
export * from './d.ts';
export { e } from './e.ts';
import './f.ts';
const g = await import('./g.ts');
type H = import('./h.ts').H;
// import z from './z.ts';
/* import './y.ts'; */
const text = "import './x.ts'";
import fs from 'node:fs';`;
  assert.deepEqual(importsOf('src/limit/main.ts', text), [
    'src/limit/a.ts',
    'src/infra/b.ts',
    'src/limit/c.ts',
    'src/limit/d.ts',
    'src/limit/e.ts',
    'src/limit/f.ts',
    'node:fs',
    'src/limit/g.ts',
    'src/limit/h.ts',
  ]);
  const ring = new Map([
    ['a', ['b']],
    ['b', ['c', 'd']],
    ['c', ['a']],
    ['d', []],
  ]);
  assert.deepEqual(cyclesIn(ring), ['a → b → c → a']);
});

test('imports go to lower layers or stay in their folder, and to files that exist', () => {
  assert.ok(SOURCES.length > 10, `only ${SOURCES.length} files found under src`);
  const problems = SOURCES.flatMap((path) =>
    (graph.get(path) ?? []).flatMap((target) => [
      ...problemsOfArrow(path, target),
      ...(target.startsWith('src/') && !existsSync(`${ROOT}${target}`)
        ? [`${path} imports ${target}: no such file`]
        : []),
    ]),
  );
  assert.deepEqual(problems, []);
});

test('the dashboard takes types alone of the contract', () => {
  const takes = SOURCES.filter((path) => path.startsWith('src/dashboard/')).flatMap((path) =>
    [...textOf(path).matchAll(/^import (?!type )[^;]*contract\/[^;]*;/gm)].map(
      ([line]) => `${path}: ${line}`,
    ),
  );
  assert.deepEqual(takes, []);
});

test('no import goes round in a circle', () => {
  assert.deepEqual(cyclesIn(graph), []);
});

test('no folder has a barrel', () => {
  assert.deepEqual(
    SOURCES.filter((path) => /\/index\.[a-z]+$/.test(path)),
    [],
  );
});

test('one file alone looks for others by its own path, which is another one in dist/', () => {
  assert.deepEqual(
    SOURCES.filter((path) => /import\.meta\.(?!main\b)/.test(textOf(path))),
    ['src/infra/product-files.ts'],
  );
});

test(`nine of ten files have at most ${ADVISED_LINES} lines`, () => {
  for (const folder of ['src', 'test']) {
    const lengths = filesUnder(ROOT, folder, '.ts').map((path) => textOf(path).split('\n').length - 1);
    const ninth = lengths.sort((a, b) => a - b)[Math.floor(lengths.length * 0.9)] ?? 0;
    assert.ok(ninth <= ADVISED_LINES, `${folder}: one file of ten has more than ${ninth} lines`);
  }
});

test('the header of every Lua script lists the keys that its file name promises and every argument that it reads', () => {
  const scripts = filesUnder(ROOT, 'lua', '.lua');
  assert.ok(scripts.length > 0, 'no script under lua/');
  const problems = scripts.flatMap((path) => {
    const lines = textOf(path).split('\n');
    const bodyStart = lines.findIndex((line) => line.trim() !== '' && !line.startsWith('--'));
    const [header, body] = [lines.slice(0, bodyStart).join('\n'), lines.slice(bodyStart).join('\n')];
    const promised = /-(\d+|n)\.lua$/.exec(path)?.[1];
    if (promised === undefined)
      return [`${path}: the name must end in its number of keys or n, <verb-noun>-<keys>.lua`];
    if (promised === 'n' && !/^-- KEYS\[i\] /m.test(header)) return [`${path}: the header lacks KEYS[i]`];
    const named = (word: string) =>
      new Set([...header.matchAll(new RegExp(`${word}\\[(\\d+)\\]`, 'g'))].map(([, index]) => Number(index)));
    const keys = named('KEYS');
    const wanted = Array.from({ length: promised === 'n' ? 0 : Number(promised) }, (_, index) => index + 1);
    const used = [...body.matchAll(/\b(KEYS|ARGV)\[(\d+)\]/g)];
    return [
      ...wanted
        .filter((index) => !keys.has(index))
        .map((index) => `${path}: the header lacks KEYS[${index}]`),
      ...[...keys]
        .filter((index) => index > wanted.length)
        .map((index) => `${path}: KEYS[${index}] is too many`),
      ...used
        .filter(([, word = '', index]) => !named(word).has(Number(index)))
        .map(([text]) => `${path}: ${text} is not in the header`),
    ];
  });
  assert.deepEqual(problems, []);
});

test('migrations are numbered from 0001 without a gap and have a down part', () => {
  const names = readdirSync(`${ROOT}migrations`).filter((name) => name.endsWith('.sql'));
  assert.ok(names.length > 0, 'no migration');
  const numbers = names.sort().map((name) => /^(\d{4})_[a-z0-9_]+\.sql$/.exec(name)?.[1] ?? name);
  assert.deepEqual(
    numbers,
    names.map((_, index) => String(index + 1).padStart(4, '0')),
  );
  for (const name of names) {
    const text = textOf(`migrations/${name}`);
    assert.match(text, /^-- Up Migration$/im, name);
    assert.match(text, /^-- Down Migration$/im, name);
  }
});
