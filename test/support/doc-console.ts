/** Sessions of the documentation: commands as readers type them, and what they then see. */
import assert from 'node:assert/strict';
import { runToEnd } from './child.ts';
import { waitFor } from './wait.ts';

/** DocStep is a command after `$ `, and the lines below it. `…` in a line stands for any text, a line of it alone for any lines. */
export interface DocStep {
  command: string;
  shown: string[];
}

/** consoleSteps returns the steps of all blocks of `console` in a text, in their order. */
export function consoleSteps(text: string): DocStep[] {
  return [...text.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, block = '']) => {
    const [before, ...steps] = block.replace(/\\\n\s*/g, '').split(/^\$ /m);
    assert.equal(before, '', 'a block begins with a command');
    return steps.map((step) => {
      const [command = '', ...shown] = step.trimEnd().split('\n');
      const hasText = shown.length === 0 || shown.some((line) => line !== '…');
      assert.ok(hasText, `nothing is shown that could be wrong: ${command}`);
      return { command, shown };
    });
  });
}

export interface DocRun {
  env: Record<string, string>;
  cwd: string;
  /** Pairs of what the page says and what is so in this run: ports, addresses, folders. The first that fits counts. */
  places: readonly (readonly [string, string])[];
}

/** Commands that only look are repeated until they show what the page says, which a reader also sees only after a moment. */
const LOOKS = /^(sluice (status|explain|config)|curl -s http:\/\/localhost:9900)\b/;

/** runConsole runs steps one after the other, as in one shell, and compares what they print. Each succeeds, unless the page shows its error. */
export async function runConsole(steps: DocStep[], { env, cwd, places }: DocRun): Promise<void> {
  for (const { command, shown } of steps) {
    const script = `set -a; [ -e .shell ] && . ./.shell; { ${hereOf(command, places)}\n} 2>&1; code=$?; export -p > .shell; exit $code`;
    const isError = shown.some((line) => line.startsWith('sluice: '));
    const check = async (): Promise<true> => {
      const { code, stdout } = await runToEnd('bash', ['-c', script], { cwd, env });
      const lines = stdout.map((line) => `${line.replace(/\r$/, '').trimEnd()}\n`);
      const printed = places.reduce((text, [said, real]) => text.replaceAll(real, said), lines.join(''));
      if (!patternOf(shown).test(printed)) assert.equal(printed, shown.join('\n'), `printed by: ${command}`);
      assert.ok(code === 0 || isError, `exit ${code} of: ${command}\n${printed}`);
      return true;
    };
    await (LOOKS.test(command) ? waitFor(`what the page shows of: ${command}`, check) : check());
  }
}

/** hereOf puts the places of this run into a text of the documentation. */
export function hereOf(text: string, places: DocRun['places']): string {
  return places.reduce((here, [said, real]) => here.replaceAll(said, real), text);
}

function patternOf(shown: string[]): RegExp {
  const lines = shown.map((line) => {
    if (line === '…') return '(?:.*\\n)*?';
    const parts = line.trimEnd().split('…');
    return `${parts.map((part) => part.replace(/[\^$.*+?()[\]{}|\\/]/g, '\\$&')).join('.*')}\\n`;
  });
  return new RegExp(`^${lines.join('')}$`);
}
