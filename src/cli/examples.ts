/** Examples of a command line, shown by --help. */
import type { Command } from 'commander';

/** giveExamples appends examples to the help of a command; for cli.ts and the commands of this folder. */
export function giveExamples(command: Command, lines: readonly string[]): void {
  command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`);
}
