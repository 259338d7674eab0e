/** All commands of `sluice` with their options, for tests of texts that name them. */
import { Command } from 'commander';
import { COMMANDS } from '../../src/cli/commands.ts';

/** Those of cli.ts, with their own options. */
const OWN = { serve: [], check: [], migrate: ['--yes', '--step <name>'], version: [] };

/** commandTree returns the program; nothing of it is run. */
export async function commandTree(): Promise<Command> {
  const program = new Command('sluice').option('--config <file>', '');
  for (const [name, flags] of Object.entries(OWN)) {
    const command = program.command(name);
    for (const flag of flags) command.option(flag);
  }
  for (const [name, description, load] of COMMANDS)
    (await load())(program.command(name).description(description), () => '');
  return program;
}
