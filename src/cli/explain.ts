/** `sluice explain METHOD URL`: which route, limits and pool a request would get from a running Sluice, and why. */
import { type Command, InvalidArgumentError } from 'commander';
import * as z from 'zod';
import { printable } from '../contract/json-text.ts';
import { addTarget, type ConfigPath, notEmpty } from './session.ts';

/** What is read of the answer; a later version may say more. */
const explanationSchema = z.looseObject({
  route: z.string().nullable(),
  refusal: z.looseObject({ status: z.number(), reason: z.string(), text: z.string() }).nullable(),
  client: z
    .looseObject({ clientId: z.string().nullable(), clientIp: z.string(), mode: z.string() })
    .nullable(),
  policies: z.array(
    z.looseObject({
      policy: z.string(),
      capacity: z.number(),
      refillPerSecond: z.number(),
      cost: z.number(),
      level: z.number().nullable(),
      leased: z.number(),
      shadow: z.boolean(),
    }),
  ),
  pool: z.string().nullable(),
  redirect: z.looseObject({ status: z.number(), location: z.string() }).nullable(),
  backends: z.array(
    z.looseObject({ id: z.string(), state: z.string(), wouldBeTried: z.boolean(), why: z.string() }),
  ),
  routes: z.array(z.looseObject({ route: z.string(), matched: z.boolean(), why: z.string() })),
  steps: z.array(z.string()),
});
type Explanation = z.infer<typeof explanationSchema>;
type Fields = Record<string, string[]>;

/** addExplain gives the command `explain` its arguments, options and action; for cli.ts. */
export function addExplain(command: Command, configPath: ConfigPath): void {
  const open = addTarget(command, configPath);
  command
    .argument('<method>', 'such as GET', notEmpty)
    .argument('<url>', 'http://example.com/path, or a path alone', notEmpty)
    .option('-H, --header <name:value>', 'a header field; may be repeated', fieldOf)
    .option('--client-ip <ip>', 'where the request comes from (default: 127.0.0.1)')
    .action(
      async (method: string, url: string, { header, clientIp }: { header?: Fields; clientIp?: string }) => {
        const session = await open();
        const body = { method, url, headers: header, clientIp };
        const answer = await session.call('POST', '/api/v1/explain', body);
        await session.printAnswer(answer, explanationSchema, explanationText);
      },
    );
}

function fieldOf(text: string, others: Fields = {}): Fields {
  const [, name = '', value = ''] = /^([^:]+):\s*(.*?)\s*$/.exec(text) ?? [];
  if (name === '') throw new InvalidArgumentError('It must be like name:value.');
  const before = Object.hasOwn(others, name) ? others[name] : undefined;
  return { ...others, [name]: [...(before ?? []), value] };
}

function explanationText(view: Explanation): string {
  const { client, policies, pool, backends, routes, steps } = view;
  // Those behind the one that takes the request are all shadowed.
  const last = routes.findIndex(({ matched }) => matched);
  const tried = last < 0 ? routes : routes.slice(0, last + 1);
  const rows = [
    ['answer', answerOf(view)],
    ['client', client === null ? null : `${client.clientId ?? client.clientIp}, mode ${client.mode}`],
    ...tried.map(({ route, matched, why }) => [
      matched ? 'route' : 'not',
      matched ? route : `${route}: ${why}`,
    ]),
    ...policies.map((each) => ['limit', policyText(each)]),
    ['pool', pool],
    ...backends.map(({ id, state, wouldBeTried, why }) => [
      wouldBeTried ? 'backend' : 'not',
      `${id}: ${state}${why === '' ? '' : `, ${why}`}`,
    ]),
  ];
  const lines = rows.flatMap(([name, text]) => (text == null ? [] : [`${name?.padEnd(8)} ${text}`]));
  return [...lines, '', ...steps].map(printable).join('\n');
}

const OUT = new Set(['down', 'ejected']);

function answerOf({ refusal, redirect, backends }: Explanation): string {
  if (refusal !== null) return `${refusal.status} ${refusal.reason}: ${refusal.text}`;
  if (redirect !== null) return `${redirect.status} to ${redirect.location}`;
  const tried = backends.filter(({ wouldBeTried }) => wouldBeTried);
  const isDoubtful = tried.length > 0 && tried.every(({ state }) => OUT.has(state));
  return isDoubtful ? 'only backends that are down or ejected are tried' : 'a backend answers';
}

function policyText({
  policy,
  capacity,
  refillPerSecond,
  cost,
  level,
  leased,
  shadow,
}: Explanation['policies'][number]): string {
  const live = level === null ? '' : `, ${Math.floor(level)} left`;
  const lease = leased > 0 ? `, ${Math.floor(leased)} on lease to this worker` : '';
  return `${policy}: takes ${cost} of ${capacity}, ${refillPerSecond} per second${live}${lease}${shadow ? ', refuses nothing (shadow)' : ''}`;
}
