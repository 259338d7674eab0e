/**
 * The call that says which way a request would take. A serving worker answers it with the code that serves requests; this process adds the
 * states of backends and the levels of buckets, which it knows better, and judges by the levels whether a limit refuses: the limiter itself
 * would take tokens.
 */
import * as z from 'zod';
import { canonicalAddress, UNIX_PEER } from '../../contract/addresses.ts';
import { LbError } from '../../contract/errors.ts';
import type { ExplainQuery, Explanation } from '../../contract/explain.ts';
import { type ExplanationView, explanationView } from '../../contract/explain-view.ts';
import { OUTCOMES, type Outcome } from '../../contract/outcomes.ts';
import { type AdminApp, call } from './app.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem } from './problems.ts';
import { Turns } from './turns.ts';

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** What a line of a head can hold (latin1): anything else would be another line, or another text. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const TARGET = /^[\x21-\x7e\x80-\xff]*$/;
const URL_FORM = /^(?:(https?):\/\/([^/?#]*))?([^#]*)/i;
const MAX_FIELDS = 1_000;
/** With many routes and backends one takes a millisecond of this process, where buckets may wait, and a third of that of a worker. */
const TURNS = {
  maxRunning: 2,
  maxWaiting: 16,
  waitMs: { write: 5_000, read: 2_000 },
  busy: 'too many requests are being explained already',
};

const fieldValue = z.union([z.string(), z.array(z.string()).min(1)]);
const explainBody = z
  .strictObject({
    method: z.string().max(32).regex(TOKEN, 'must be a token').default('GET'),
    url: z
      .string()
      .regex(TARGET, 'must have no blanks, control or other characters: write them %XX')
      .regex(/^(?:https?:\/\/|\/|\*$)/i, 'must begin with http://, https:// or a slash, or be *')
      .meta({
        description:
          'Whole, or a path beside a field Host; its bytes count as they are, without a normal form',
      }),
    headers: z
      .record(z.string(), fieldValue)
      .check(checkFields)
      .default({})
      .meta({ description: 'Fields by name, one value or several; Host in place of that of the URL' }),
    clientIp: z.string().transform(canonicalPeer).default('127.0.0.1').meta({
      description:
        'The address that the connection comes from; X-Forwarded-For counts if it is a trusted proxy',
    }),
  })
  .check(checkHost);

const SUMMARY =
  'Say which way a request would take now, and why; takes no token, picks no backend, and is neither counted nor logged as a request';

/** registerExplain adds the route. */
export function registerExplain(app: AdminApp, parts: AdminParts): void {
  const turns = new Turns(TURNS);
  app.post(
    '/api/v1/explain',
    {
      config: { isRead: true },
      ...call('explain', SUMMARY, [], { body: explainBody, response: { 200: explanationView } }),
    },
    async ({ body, access, socket }) =>
      turns.run({ access, socket }, async () => {
        const { worker, explanation } = await parts.explainer.explain(queryOf(body)).catch(refuse);
        return { worker, ...(await viewOf(explanation, parts)) };
      }),
  );
}

type ExplainBody = z.infer<typeof explainBody>;

function queryOf({ method, url, headers, clientIp }: ExplainBody): ExplainQuery {
  const [, scheme = 'http', authority, rest = ''] = URL_FORM.exec(url) ?? [];
  const target = rest.startsWith('?') || rest === '' ? `/${rest}` : rest;
  const fields = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map((value) => `${name}: ${value}\r\n`),
  );
  const host = hasHost(headers) ? '' : `Host: ${authority ?? ''}\r\n`;
  const head = `${method} ${target} HTTP/1.1\r\n${host}${fields.join('')}\r\n`;
  return { head, scheme: scheme.toLowerCase() === 'https' ? 'https' : 'http', peer: clientIp };
}

async function viewOf(found: Explanation, parts: AdminParts): Promise<Omit<ExplanationView, 'worker'>> {
  const { client, lacking: lack, ...rest } = found;
  const levels = await levelsOf(found, parts);
  const policies = found.policies.map((each) => ({ ...each, level: levels.get(each.policy) ?? null }));
  const limited = found.refusal === null ? refusalByLimit(policies) : null;
  const lacking = lack && { outcome: OUTCOMES[lack], text: OUTCOMES[lack].title };
  const refusal = found.refusal ?? shownRefusal(limited ?? lacking);
  const { pool } = found;
  const state = (id: string) => parts.registry.state(pool ?? '', id)?.state ?? 'unknown';
  const backends = found.backends.map((each) => ({ ...each, state: state(each.id) }));
  const refused = refusal && `It is refused with ${refusal.status} (${refusal.reason}): ${refusal.text}.`;
  const steps = refused === null ? found.steps : [...found.steps, refused];
  return { ...rest, client: client && clientView(client), policies, refusal, backends, steps };
}

function clientView({ match, ...rest }: NonNullable<Explanation['client']>) {
  return { ...rest, bucketName: match.bucketName };
}

/** By policy; empty where nothing is limited, or the store does not answer. */
async function levelsOf({ client, policies }: Explanation, { buckets, reloader }: AdminParts) {
  if (client === null || policies.length === 0) return new Map<string, number>();
  try {
    const views = await buckets.of(client.match, reloader.current.policyVersionUs);
    return new Map(views.map(({ policy, level }) => [policy, level]));
  } catch (error) {
    if (error instanceof LbError) return new Map<string, number>();
    throw error;
  }
}

interface ViewedPolicy {
  policy: string;
  level: number | null;
  capacity: number;
  cost: number;
  leased: number;
  aloneAmong: number | null;
  aloneLevel: number | null;
  onStoreFailure: 'local' | 'allow' | 'deny';
  shadow: boolean;
}

function refusalByLimit(policies: ViewedPolicy[]): { outcome: Outcome; text: string } | null {
  const refusing = policies.filter(({ shadow }) => !shadow);
  const isAsked = ({ aloneAmong }: ViewedPolicy): boolean => aloneAmong === null;
  const never = refusing.find(
    (each) => each.cost > each.capacity && (isAsked(each) || each.onStoreFailure === 'local'),
  );
  if (never !== undefined) {
    const text = `it costs ${never.cost}, and policy ${never.policy} never has more than ${never.capacity}`;
    return { outcome: OUTCOMES.cost_above_capacity, text };
  }
  const empty = refusing.find((each) => {
    const left = countedLevel(each);
    return left !== null && Math.max(left, each.leased) < each.cost;
  });
  if (empty === undefined) return deniedByStore(refusing);
  const lease = empty.leased > 0 ? `, ${empty.leased} on lease to this worker` : '';
  const whose = isAsked(empty) ? '' : `this worker's share of `;
  const left = Math.floor(countedLevel(empty) ?? 0);
  const text = `${whose}policy ${empty.policy} has ${left} tokens left${lease}, ${empty.cost} needed`;
  return { outcome: OUTCOMES.limited, text };
}

/** While the store is away for the worker it does not count what is in it, but its own share; null: nothing does, or it is not known. */
function countedLevel({ level, aloneAmong, aloneLevel, onStoreFailure }: ViewedPolicy): number | null {
  if (aloneAmong === null) return level;
  return onStoreFailure === 'local' ? aloneLevel : null;
}

/** Behind refusals by a limit: a request that meets both gets the 429. */
function deniedByStore(refusing: ViewedPolicy[]): { outcome: Outcome; text: string } | null {
  const denied = refusing.find(
    ({ aloneAmong, onStoreFailure, leased, cost }) =>
      aloneAmong !== null && onStoreFailure === 'deny' && leased < cost,
  );
  const text = `policy ${denied?.policy} refuses while its store is away (onStoreFailure: deny)`;
  return denied === undefined ? null : { outcome: OUTCOMES.store_denied, text };
}

function shownRefusal(found: { outcome: Outcome; text: string } | null): Explanation['refusal'] {
  return found && { status: found.outcome.status, reason: found.outcome.reason, text: found.text };
}

function refuse(thrown: unknown): never {
  if (!(thrown instanceof LbError)) throw thrown;
  const isLate = thrown.code === 'worker_timeout';
  throw new HttpProblem(503, isLate ? 'a worker did not answer in time' : 'no worker serves that can tell');
}

type Headers = z.infer<typeof explainBody>['headers'];

function hasHost(headers: Headers): boolean {
  return Object.keys(headers).some((name) => name.toLowerCase() === 'host');
}

function checkFields({ issues, value }: z.core.ParsePayload<Record<string, string | string[]>>): void {
  let count = 0;
  for (const [name, values] of Object.entries(value)) {
    const wrong = !TOKEN.test(name) ? 'is not the name of a field' : null;
    const isSendable = [values].flat().every((each) => FIELD_VALUE.test(each));
    const message = wrong ?? (isSendable ? null : 'has a character that no field can hold');
    if (message !== null) issues.push({ code: 'custom', message, path: [name], input: values });
    count += [values].flat().length;
  }
  if (count > MAX_FIELDS)
    issues.push({ code: 'custom', message: `has more than ${MAX_FIELDS} values`, path: [], input: value });
}

function checkHost({ issues, value }: z.core.ParsePayload<ExplainBody>): void {
  if (issues.length > 0 || /^https?:/i.test(value.url) || hasHost(value.headers)) return;
  const message = 'needs a host: begin with http://HOST/, or give the field Host in headers';
  issues.push({ code: 'custom', message, path: ['url'], input: value.url });
}

function canonicalPeer(address: string, context: z.core.ParsePayload): string {
  const canonical = address === UNIX_PEER ? UNIX_PEER : canonicalAddress(address);
  if (canonical !== null) return canonical;
  context.issues.push({ code: 'custom', message: 'must be an IP address, or unix:', input: address });
  return z.NEVER;
}
