/** Sessions of the documentation: commands as readers type them, and what they then see. */
import assert from 'node:assert/strict';
import { runToEnd } from './child.ts';

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
      return { command, shown };
    });
  });
}

export interface DocRun {
  env: Record<string, string>;
  cwd: string;
  /** Pairs of what the page says and what is so in this run: ports, addresses, folders. The longest come first. */
  places: readonly (readonly [string, string])[];
}

/** runConsole runs steps one after the other and compares what they print. Variables that a step exports stay for the next. */
export async function runConsole(steps: DocStep[], { env, cwd, places }: DocRun): Promise<void> {
  const exports: string[] = [];
  for (const { command, shown } of steps) {
    const here = places.reduce((text, [said, real]) => text.replaceAll(said, real), command);
    if (here.startsWith('export ')) {
      exports.push(here);
      continue;
    }
    const { stdout, stderr } = await runToEnd('bash', ['-c', [...exports, `${here} 2>&1`].join('\n')], {
      cwd,
      env,
    });
    const printed = [...stdout, ...stderr].map((line) => line.replace(/\r$/, '').trimEnd()).join('\n');
    const text = printed === '' ? '' : `${printed}\n`;
    const said = places.reduce((seen, [page, real]) => seen.replaceAll(real, page), text);
    assert.match(said, patternOf(shown), `what is printed by: ${command}`);
  }
}

function patternOf(shown: string[]): RegExp {
  const lines = shown.map((line) =>
    line === '…'
      ? '(?:.*\\n)*?'
      : `${line
          .trimEnd()
          .split('…')
          .map((part) => part.replace(/[\^$.*+?()[\]{}|]/g, '\\$&'))
          .join('.*')}\\n`,
  );
  return new RegExp(`^${lines.join('')}$`);
}
