/** What pages show of configurations and commands and no other test runs. (test/docs/recipe.ts has the cookbook.) */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { loadConfig } from '../../src/config/load.ts';
import { startBackend } from '../support/backend.ts';
import { Authority } from '../support/certificates.ts';
import { runToEnd } from '../support/child.ts';
import { commandTree } from '../support/command-tree.ts';
import { filesUnder } from '../support/imports.ts';
import { startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const PAGES = [...filesUnder(ROOT, 'docs', '.md'), 'README.md', 'CONTRIBUTING.md'];
/** Pools for examples that show a part of a file. */
const POOLS = 'pools: { app: { backends: [{ url: http://127.0.0.1:8081 }] } }';
const PARTS: Record<string, (part: string) => string> = {
  'docs/health.md': (part) =>
    `pools:\n  app:\n    backends: [{ url: http://127.0.0.1:8081 }]\n${part.replaceAll(/^/gm, '    ')}`,
  'docs/tracing.md': (part) => `${POOLS}\n${part}`,
};
/** Of Kubernetes: test/repository/kubernetes.test.ts has the manifests. */
const OTHERS = ['docs/operating.md'];

function blocksOf(page: string, ...languages: string[]): string[] {
  return [...textOf(page).matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```$/gm)]
    .filter(([, language = '']) => languages.includes(language))
    .map(([, , text = '']) => text);
}

/** The lines of commands in the blocks of a page, without prompts and what is printed. */
function commandsOf(page: string): string[] {
  return blocksOf(page, '', 'sh', 'console').flatMap((block) => {
    const lines = block.replaceAll(/\\\n\s*/g, '').split('\n');
    const typed = lines.some((line) => line.startsWith('$ '))
      ? lines.filter((line) => line.startsWith('$ '))
      : lines;
    return typed.map((line) => line.replace(/^\$ /, ''));
  });
}

test('each configuration on a page is one that Sluice loads', (t) => {
  const folder = tempFolder(t);
  const authority = new Authority();
  const { cert, key } = authority.issue(['app.internal']);
  for (const name of ['tls', 'sluice']) {
    writeFileSync(join(folder, `${name}.pem`), cert);
    writeFileSync(join(folder, `${name}.key`), key, { mode: 0o600 });
  }
  for (const name of ['clients', 'internal-ca'])
    writeFileSync(join(folder, `${name}.pem`), authority.root.cert);
  const file = join(folder, 'sluice.yaml');
  let count = 0;
  for (const page of PAGES.filter((path) => !path.includes('/cookbook/')))
    for (const text of blocksOf(page, 'yaml')) {
      if (OTHERS.includes(page)) continue;
      const whole = /^pools:/m.test(text) ? text : PARTS[page]?.(text);
      assert.ok(whole !== undefined, `${page}: a part of a configuration that no test completes:\n${text}`);
      writeFileSync(file, whole.replaceAll('/etc/sluice', folder));
      const loaded = loadConfig(file, { KEY: 'a' });
      assert.deepEqual('problems' in loaded ? loaded.problems : [], [], `${page}:\n${text}`);
      count += 1;
    }
  assert.ok(count >= 14, `${count} configurations found`);
});

test('each command of Sluice, target of make and script on a page exists', async () => {
  const tree = await commandTree();
  const targets = new Set([...textOf('Makefile').matchAll(/^([a-z-]+):/gm)].map(([, name]) => name));
  const wrong: string[] = [];
  let count = 0;
  for (const page of PAGES)
    for (const line of commandsOf(page)) {
      const call = /^(?!kubectl|ACL|user).*?(?<![\w.-])sluice( [a-z-].*)$/.exec(
        line.replace(/ +#.*/, ''),
      )?.[1];
      const target = /^make ([a-z-]+)/.exec(line)?.[1];
      const script = /node_modules\/\.bin\/node (?:--\S+ )*(\S+\.ts)/.exec(line)?.[1];
      const isKnown =
        (call === undefined || isCommand(tree, call)) &&
        (target === undefined || targets.has(target)) &&
        (script === undefined || existsSync(join(ROOT, script)));
      if (!isKnown) wrong.push(`${page}: ${line}`);
      count += [call, target, script].filter((each) => each !== undefined).length;
    }
  assert.deepEqual(wrong, []);
  assert.ok(count >= 50, `${count} commands found`);
});

/** Whether the words begin with a command and have only options of it. */
function isCommand(tree: Command, call: string): boolean {
  const words =
    call
      .split(/[|>&;)]/)[0]
      ?.trim()
      .split(/\s+/) ?? [];
  let command = tree;
  const flags = new Set(['--config']);
  for (const word of words) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) break;
    command = next;
    for (const { long, short } of command.options) flags.add(long ?? '').add(short ?? '');
  }
  return command !== tree && words.filter((word) => /^--?[a-z]/.test(word)).every((word) => flags.has(word));
}

test('each command of Sluice and each call of the admin port that a sentence names exists', async () => {
  const tree = await commandTree();
  const named = PAGES.flatMap((page) =>
    [...textOf(page).matchAll(/`(?:bin\/)?sluice( [a-z][^`]*)`/g)].map(([, call = '']) => ({ page, call })),
  );
  assert.ok(named.length > 40, `${named.length} commands found`);
  assert.deepEqual(
    named.filter(({ call }) => !/^ help\b/.test(call) && !isCommand(tree, call)),
    [],
  );
  const api = textOf('docs/admin-api.md');
  const calls = PAGES.flatMap(
    (page) => textOf(page).match(/(?<=`)(GET|POST|PUT) \/api\/v1[^` ?]*(?=[`?])/g) ?? [],
  );
  assert.ok(calls.length > 20, `${calls.length} calls found`);
  assert.deepEqual(
    calls.filter((call) => !api.includes(`\n### ${call}\n`)),
    [],
  );
});

test('each call of the admin port in docs/operating.md is answered', async (t) => {
  const backends = await Promise.all([1, 2].map(() => startBackend((_request, response) => response.end())));
  t.after(() => Promise.all(backends.map((each) => each.close())));
  const list = backends.map(({ url }, index) => ({ url, id: index === 0 ? 'ID' : 'other' }));
  const sluice = await startSluice({
    config: { pools: { app: { backends: list } }, rateLimit: {} },
    data: 'made',
  });
  t.after(() => sluice.stop());
  const calls = commandsOf('docs/operating.md').filter((line) => line.startsWith('curl '));
  assert.ok(calls.length >= 10, `${calls.length} calls`);
  await Promise.all(
    calls.map(async (line) => {
      const here = line
        .replace('curl ', 'curl --fail-with-body --max-time 3 ')
        .replace('127.0.0.1:9900', new URL(sluice.adminUrl).host);
      const { code, stdout } = await runToEnd('sh', ['-c', here]);
      // A stream has no end: curl leaves it after the time, exit code 28.
      assert.equal(code, / -\w*N/.test(line) ? 28 : 0, `${line}\n${stdout.join('\n')}`);
    }),
  );
});
