import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { COMMANDS } from '../../src/cli/commands.ts';
import { EXAMPLES } from '../../src/cli/examples.ts';
import { runSluice } from '../support/run-sluice.ts';

/** Those of cli.ts, with their own options. */
const OWN = { serve: [], check: [], migrate: ['--yes'], version: [] };

async function makeTree(): Promise<Command> {
  const program = new Command('sluice').option('--config <file>', '');
  for (const [name, flags] of Object.entries(OWN)) {
    const command = program.command(name);
    for (const flag of flags) command.option(flag);
  }
  for (const [name, description, load] of COMMANDS)
    (await load())(program.command(name).description(description), () => '');
  return program;
}

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
    for (const each of command.commands) visit(each, `${words} ${each.name()}`, flags);
  };
  visit(await makeTree(), 'sluice', []);
  assert.deepEqual(Object.keys(EXAMPLES).sort(), seen.sort());
});

test('help shows the examples and every command', async (t) => {
  const [all, one] = await Promise.all([runSluice(t, ['--help']), runSluice(t, ['help', 'drain'])]);
  assert.deepEqual([all.code, one.code], [0, 0]);
  for (const [name] of COMMANDS) assert.match(all.out, new RegExp(`\\n  ${name} `));
  assert.match(one.out, /\nExamples:\n {2}sluice drain app 10\.0\.0\.12:8080\n/);
});
