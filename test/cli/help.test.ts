import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
import { COMMANDS } from '../../src/cli/commands.ts';
import { EXAMPLES } from '../../src/cli/examples.ts';
import { commandTree } from '../support/command-tree.ts';
import { runSluice } from '../support/run-sluice.ts';

test('every command has examples, and each names a command and options that there are', async () => {
  const seen: string[] = [];
  const visit = (command: Command, words: string, above: string[]) => {
    seen.push(words);
    const flags = [...above, ...command.options.flatMap(({ long, short }) => [long ?? '', short ?? ''])];
    const lines = EXAMPLES[words] ?? [];
    assert.ok(lines.length > 0, `${words} has no example`);
    const inner = [words, ...command.commands.map((each) => `${words} ${each.name()}`)];
    for (const line of lines) {
      const [, call = ''] = /(?<![=./\w])(sluice(?![.\w])[^|>)]*)/.exec(line) ?? [];
      assert.ok(
        inner.some((known) => `${call.trim()} `.startsWith(`${known} `)),
        `${line}: not an example of ${words}`,
      );
      const given = call.match(/(?<= )--?[a-z-]+/gi) ?? [];
      const known = command.commands.length === 0 ? flags : null;
      for (const flag of given) assert.ok(known?.includes(flag) ?? true, `${line}: no option ${flag}`);
    }
    assert.doesNotMatch(command.helpInformation(), /default: [[{]/, words);
    for (const each of command.commands) visit(each, `${words} ${each.name()}`, flags);
  };
  visit(await commandTree(), 'sluice', []);
  assert.deepEqual(Object.keys(EXAMPLES).sort(), seen.sort());
});

test('help shows the examples and every command', async (t) => {
  const [all, one] = await Promise.all([runSluice(t, ['--help']), runSluice(t, ['help', 'drain'])]);
  assert.deepEqual([all.code, one.code], [0, 0]);
  for (const [name] of COMMANDS) assert.match(all.out, new RegExp(`\\n  ${name} `));
  assert.match(one.out, /\nExamples:\n {2}sluice drain app 10\.0\.0\.12:8080\n/);
});
