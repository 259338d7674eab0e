// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to variables are what is tested
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { formatProblems } from '../../src/config/problems.ts';
import { parseConfig } from '../support/parse-config.ts';

const POOL = 'pools: { app: { backends: [{ url: "http://127.0.0.1:8081" }] } }\n';

const words = [
  'listen',
  'address',
  'admin',
  'token',
  'pools',
  'app',
  'backends',
  'url',
  'weight',
  'id',
  'healthCheck',
  'interval',
  'timeout',
  'routes',
  'name',
  'match',
  'host',
  'path',
  'methods',
  'pool',
  'rateLimit',
  'policy',
  'cost',
  'policies',
  'default',
  'capacity',
  'refillPerSecond',
  'redis',
  'database',
  'log',
  'access',
  '__proto__',
  'constructor',
  'workers',
  'trustedProxies',
  'limits',
];
const scalar = fc.oneof(
  fc.constantFrom(
    ...words,
    'http://a:1',
    ':80',
    '5s',
    '1MiB',
    'off',
    '${A}',
    '${',
    '*',
    '/a/',
    '10.0.0.0/8',
    '',
  ),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string(),
);
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 6 },
    scalar,
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.constantFrom(...words), fc.string()), tie('tree'), { maxKeys: 6 }),
  ),
}));

function assertVerdict(text: string): void {
  const loaded = parseConfig(text, { A: '1' });
  if ('settings' in loaded) return;
  assert.notEqual(loaded.problems.length, 0);
  for (const line of formatProblems('f', loaded.problems)) {
    assert.match(line, /^f(:\d+)?: [^\n]+$/);
    if (!line.includes(': not valid YAML: ')) assert.doesNotMatch(line, /\[object|undefined|expected|NaN/);
  }
}

test('any YAML gives settings or problems, never an exception', () => {
  fc.assert(
    fc.property(tree, (value) => assertVerdict(stringify(value, { aliasDuplicateObjects: false }))),
    { numRuns: 1500 },
  );
});

test('any text gives settings or problems, never an exception', () => {
  const fragments = fc.constantFrom(
    'a: ',
    '- ',
    '\n',
    '  ',
    '{',
    '}',
    '[',
    ']',
    '&x ',
    '*x',
    '!!set ',
    '? ',
    '"',
    "'",
    '|',
    '# ',
    '---',
    '%',
    '${A}',
    '\t',
    POOL,
  );
  const text = fc.array(fc.oneof(fragments, fc.string({ unit: 'binary', maxLength: 5 })), { maxLength: 30 });
  fc.assert(
    fc.property(text, (parts) => assertVerdict(parts.join(''))),
    { numRuns: 1500 },
  );
  assertVerdict('['.repeat(100_000));
  assertVerdict('a:\n '.repeat(5000));
  assertVerdict('{a: '.repeat(3000));
});
