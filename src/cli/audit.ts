/** `sluice audit`: who changed what, and what has happened, on all machines that share the database. */
import { type Command, Option } from 'commander';
import * as z from 'zod';
import { EVENT_KINDS } from '../contract/events.ts';
import { formatterOf, type ListView } from './output.ts';
import { addTarget, type ConfigPath } from './session.ts';

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
    .option('--limit <n>', 'how many of the newest, 1 to 1000', '50');
  const open = addTarget(audit, configPath);
  audit.action(async () => {
    const session = await open();
    const { kind, actor, subject, since, until, limit } = audit.opts<Record<string, string | undefined>>();
    const given = Object.entries({ kind, actor, subject, since, until, limit });
    const query = given.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
    const answer = await session.call('GET', `/api/v1/audit?${new URLSearchParams(query)}`);
    await session.printAnswer(answer, z.object({ items: z.array(entrySchema) }), ({ items }) =>
      items.length === 0 ? auditTable.none : formatterOf(auditTable)(items),
    );
  });
}
