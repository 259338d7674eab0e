/** `sluice reload`, `drain`, `enable` and `restart`: what an operator changes on a running Sluice. */
import type { Command } from 'commander';
import * as z from 'zod';
import { counted } from '../contract/counted.ts';
import { printable } from '../contract/json-text.ts';
import { problemsOf, refusalOf } from './admin-client.ts';
import { refuse } from './refuse.ts';
import { addTarget, type ConfigPath, notEmpty, type Session } from './session.ts';

/** Above the deadlines of the admin port for these two. */
const RELOAD_MS = 65_000;
const RESTART_MS = 70_000;

const reloadSchema = z.looseObject({ revision: z.number(), pendingWorkers: z.array(z.number()) });
const restartSchema = z.looseObject({ workers: z.number() });
const backendSchema = z.looseObject({
  id: z.string(),
  state: z.string(),
  reason: z.string().nullable(),
  inFlight: z.number(),
});

/** addReload gives the command `reload` its options and its action; for cli.ts, like the others here. */
export function addReload(command: Command, configPath: ConfigPath): void {
  const open = addTarget(command, configPath);
  command.action(async () => reload(await open()));
}

async function reload(session: Session): Promise<void> {
  try {
    const answer = await session.call('POST', '/api/v1/reload', undefined, RELOAD_MS);
    await session.printAnswer(answer, reloadSchema, reloadText);
  } catch (error) {
    const problems = problemsOf(error);
    if (problems === null) throw error;
    const lines = problems.map(({ line, path, message }) =>
      [line === null ? '' : `line ${line}: `, path === null ? '' : `${path}: `, message].join(''),
    );
    refuse('sluice: the configuration is refused, and the old one stays in force', ...lines.map(printable));
  }
}

function reloadText({ revision, pendingWorkers }: z.infer<typeof reloadSchema>): string {
  const pending =
    pendingWorkers.length === 0 ? '' : `, but workers ${pendingWorkers.join(', ')} run it later`;
  return `reloaded: revision ${revision}${pending}`;
}

/** addDrain gives the command `drain` its arguments, options and action. */
export function addDrain(command: Command, configPath: ConfigPath): void {
  const open = addTarget(addBackend(command), configPath);
  command
    .option('--yes', 'also the last backend of its pool that takes requests, or the last healthy one')
    .action(async (pool: string, backend: string, { yes = false }: { yes?: boolean }) => {
      try {
        await setBackend(await open(), yes ? 'drain?force=true' : 'drain', pool, backend);
      } catch (error) {
        const reason = refusalOf(error, 'last_backend');
        if (reason === null) throw error;
        refuse(`sluice: ${reason}`, 'add --yes to drain it');
      }
    });
}

/** addEnable gives the command `enable` its arguments, options and action. */
export function addEnable(command: Command, configPath: ConfigPath): void {
  const open = addTarget(addBackend(command), configPath);
  command.action(async (pool: string, backend: string) => setBackend(await open(), 'enable', pool, backend));
}

function addBackend(command: Command): Command {
  return command
    .argument('<pool>', 'its name in the configuration', notEmpty)
    .argument('<backend>', 'its id; where none is written, host:port', notEmpty);
}

async function setBackend(
  session: Session,
  operation: 'drain' | 'drain?force=true' | 'enable',
  pool: string,
  backend: string,
): Promise<void> {
  const path = `/api/v1/pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(backend)}/${operation}`;
  await session.printAnswer(await session.call('POST', path), backendSchema, (view) => {
    const reason = view.reason === null ? '' : ` (${view.reason})`;
    return printable(
      `${view.id} of ${pool} is ${view.state}${reason}, with ${counted(view.inFlight, 'request')} in flight`,
    );
  });
}

/** addRestart gives the command `restart` its options and its action. */
export function addRestart(command: Command, configPath: ConfigPath): void {
  const open = addTarget(command, configPath);
  command.action(async () => {
    const session = await open();
    const answer = await session.call('POST', '/api/v1/workers/restart', undefined, RESTART_MS);
    await session.printAnswer(answer, restartSchema, ({ workers }) =>
      workers === 1
        ? 'the worker is replaced'
        : `the first of ${workers} workers is replaced, the others follow one by one`,
    );
  });
}
