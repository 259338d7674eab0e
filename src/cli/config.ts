/** `sluice config show` and `config diff`: the configuration as it runs, and beside the file. */
import type { Command } from 'commander';
import * as z from 'zod';
import { formatProblems } from '../config/problems.ts';
import { printable } from '../contract/json-text.ts';
import { REFUSED } from './refuse.ts';
import { addTarget, type ConfigPath, fitting, type Session } from './session.ts';

const configSchema = z.record(z.string(), z.unknown());
const diffSchema = z.looseObject({
  file: z.string(),
  same: z.boolean(),
  problems: z.array(
    z.object({ line: z.number().nullable(), path: z.string().nullable(), message: z.string() }),
  ),
  changes: z.array(z.object({ path: z.string(), running: z.unknown(), file: z.unknown() })),
});

/** addConfig gives the command `config` its commands; for cli.ts. */
export function addConfig(config: Command, configPath: ConfigPath): void {
  const open = addTarget(config, configPath);
  config
    .command('show')
    .description('print the running configuration, defaults too, without secrets')
    .action(async () => showRunning(await open()));
  config
    .command('diff')
    .description('print what a reload would change, or why it would be refused (exit 2)')
    .action(async () => showDiff(await open()));
}

async function showRunning(session: Session): Promise<void> {
  const answer = await session.call('GET', '/api/v1/config');
  const { stringify } = await import('yaml');
  await session.printAnswer(answer, configSchema, (view) => stringify(view).trimEnd());
}

async function showDiff(session: Session): Promise<void> {
  const answer = await session.call('GET', '/api/v1/config/diff');
  await session.printAnswer(answer, diffSchema, diffText);
  if (fitting(diffSchema, answer).problems.length > 0) process.exitCode = REFUSED;
}

function diffText({ file: path, same, problems, changes }: z.infer<typeof diffSchema>): string {
  if (same) return `${path} has what runs`;
  const lines = changes.flatMap(({ path: place, running, file }) => [
    ...(running === null ? [] : [`- ${place}: ${JSON.stringify(running)}`]),
    ...(file === null ? [] : [`+ ${place}: ${JSON.stringify(file)}`]),
  ]);
  return [...formatProblems(path, problems), ...lines].map(printable).join('\n');
}
