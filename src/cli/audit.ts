/** `sluice audit`: who changed what, and what has happened, on all machines that share the database. */
import { type Command, Option } from 'commander';
import * as z from 'zod';
import { EVENT_KINDS } from '../contract/events.ts';
import { type ListView, printable } from './output.ts';
import { addTarget, type ConfigPath, countOf } from './session.ts';

const entrySchema = z.looseObject({
  at: z.string(),
  instance: z.string(),
  kind: z.string(),
  text: z.string(),
  actor: z.object({ who: z.string(), from: z.string() }).nullable(),
});

const auditTable: ListView<z.infer<typeof entrySchema>> = {
  item: entrySchema,
  headings: ['AT', 'MACHINE', 'KIND', 'BY', 'WHAT'],
  cells: ({ at, instance, kind, actor, text }) => [
    at,
    instance,
    kind,
    actor === null ? '-' : `${actor.who} ${actor.from}`,
    text,
  ],
  none: 'nothing in the audit',
};

/** addAudit gives the command `audit` its options and action; for cli.ts. */
export function addAudit(audit: Command, configPath: ConfigPath): void {
  audit
    .addOption(new Option('--kind <kind>', 'only this kind').choices(EVENT_KINDS))
    .option('--actor <actor>', 'only what came from this address, or by this token (admin, none)')
    .option('--subject <subject>', 'only what is about it, such as "client acme" or app/10.0.0.12:80')
    .option('--since <time>', 'the first moment, such as 2026-12-01T14:00:00Z')
    .option('--until <time>', 'the first moment that does not count any more')
    .option('--limit <n>', 'how many, the newest first', countOf, 50)
    .option('--after <place>', 'go on where an earlier call has ended, as it said');
  const open = addTarget(audit, configPath);
  audit.action(async () => {
    const session = await open();
    const { kind, actor, subject, since, until, after, limit } = audit.opts<
      Record<string, string | undefined> & { limit: number }
    >();
    const given = Object.entries({ kind, actor, subject, since, until, after });
    const query = given.filter((each): each is [string, string] => each[1] !== undefined);
    const next = await session.printList('/api/v1/audit', auditTable, Object.fromEntries(query), limit);
    if (next !== null) process.stderr.write(`sluice: there are older ones: --after ${printable(next)}\n`);
  });
}
