/** `sluice status`: one screen about a running Sluice, what is wrong now first. */
import type { Command } from 'commander';
import * as z from 'zod';
import { printable } from '../contract/json-text.ts';
import { poolsSchema, sampleSchema, sectionsOf } from './screen.ts';
import { addTarget, type ConfigPath, fitting, type Session } from './session.ts';
import { duration, linesOf } from './table.ts';

const connection = z.looseObject({ kind: z.string(), connected: z.boolean() });
const statusSchema = sampleSchema.extend({
  version: z.string(),
  instance: z.string().nullish(),
  phase: z.string(),
  phaseSec: z.number().nullish(),
  revision: z.number(),
  uptimeSec: z.number(),
  store: connection,
  database: connection,
});

/** addStatus gives the command `status` its options and its action; for cli.ts. */
export function addStatus(command: Command, configPath: ConfigPath): void {
  const open = addTarget(command, configPath);
  command.action(async () => showStatus(await open()));
}

async function showStatus(session: Session): Promise<void> {
  const [status, list] = await Promise.all([
    session.call('GET', '/api/v1/status'),
    session.call('GET', '/api/v1/pools'),
  ]);
  const { items: pools } = fitting(z.object({ items: poolsSchema }), list);
  await session.printAnswer(status, statusSchema, (view) => statusText({ ...view, pools }));
}

const MOST_PROBLEMS = 10;
const STORES: Readonly<Record<string, string>> = { embedded: 'the embedded database' };

function statusText(view: z.infer<typeof statusSchema>): string {
  const { version, phase, phaseSec, revision, uptimeSec, store, database } = view;
  const state = ({ kind, connected }: z.infer<typeof connection>) =>
    `${STORES[kind] ?? kind}${connected ? '' : ' (away)'}`;
  const head = [
    `sluice ${version}: ${phase} for ${duration(phaseSec ?? uptimeSec)}, revision ${revision}`,
    `limits in ${state(store)}, clients in ${state(database)}`,
  ].join('; ');
  const blocks = sectionsOf(view, null).map((section, index) => {
    // The first is what is wrong: a pool that is away would push all others off the screen.
    const rows = index === 0 ? section.rows.slice(0, MOST_PROBLEMS) : section.rows;
    const lines = linesOf({ ...section, rows }, printable).map(({ text }) => text);
    const left = section.rows.length - rows.length;
    return [...lines, ...(left > 0 ? [`… ${left} more (--json)`] : [])].join('\n');
  });
  return [head, ...blocks].join('\n\n');
}
