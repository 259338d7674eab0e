/** What the tests of injection share: what a backend and a client got, and what they should have got. */
import assert from 'node:assert/strict';
import type { CapturingBackend } from '../proxy/capturing-backend.ts';
import type { RawResponse } from '../support/raw-http.ts';
import { type CaseResult, runCampaign } from './campaign.ts';
import { added, faultsOf, fieldsOf, type Wanted } from './hostile-fields.ts';
import type { Random } from './random.ts';

export const LANES = 8;
const SHORT = { count: 800, sec: 4 };

/** What the backend got for a case, and faults of everything that it got besides. */
export function take(backend: CapturingBackend, id: number) {
  const got = backend.requests.filter((each) => each.header('x-case') === String(id));
  const strays = backend.requests.filter((each) => each.all('x-case').length !== 1 || each.method === '?');
  backend.requests = backend.requests.filter((each) => !got.includes(each) && !strays.includes(each));
  const faults = strays.map(({ raw }) => `a message that nobody sent: ${JSON.stringify(raw)}`);
  if (got.length > 1) faults.push(`${got.length} requests in place of one`);
  return { seen: got[0], faults };
}

/** Faults of a request at the backend. */
export function requestFaults(
  seen: CapturingBackend['requests'][number],
  { line, host, fields, said }: { line: string; host: string; fields: Wanted; said: string },
): string[] {
  const [first = '', ...lines] = seen.raw.slice(0, seen.raw.indexOf('\r\n\r\n')).split('\r\n');
  const read = fieldsOf(lines);
  if (typeof read === 'string') return [read];
  const faults =
    first === line ? [] : [`the first line is ${JSON.stringify(first)}, not ${JSON.stringify(line)}`];
  for (const name of ['x-case', 'x-last', 'host']) if (!read.has(name)) faults.push(`${name} is lost`);
  return [...faults, ...faultsOf(read, { ...added(said, host), host: [host], 'x-last': ['end'], ...fields })];
}

export const OURS: Wanted = {
  ...{ 'x-request-id': [/^[A-Za-z0-9._-]{1,128}$/], via: ['1.1 sluice'], date: [/^\w{3}, [\w: ]+ GMT$/] },
  ...{ 'content-length': [/^\d+$/], 'transfer-encoding': ['chunked'], connection: ['close', 'keep-alive'] },
  ...{ 'content-type': ['application/problem+json'], 'retry-after': [/^\d+$/], 'cache-control': [/^/] },
};

/** Faults of an answer to a client, which is read strictly already; a refusal is a problem (RFC 9457). */
export function answerFaults({ headers: fields, status, header, body }: RawResponse, more: Wanted): string[] {
  const read = fieldsOf(fields.map(([name, value]) => `${name}: ${value}`));
  if (typeof read === 'string') return [read];
  const faults = faultsOf(read, { ...OURS, ...more });
  if (header('content-type') !== 'application/problem+json' || status < 400) return faults;
  const { requestId } = JSON.parse(body.toString()) as { requestId: string };
  return requestId === header('x-request-id') ? faults : [...faults, 'the problem has another request id'];
}

/** Runs a campaign, in which each of these outcomes must occur: one that only refuses would prove nothing. */
export async function proves(
  {
    name,
    title,
    run,
  }: { name: string; title: string; run(random: Random, lane: number): Promise<CaseResult> },
  outcomes: string[],
): Promise<void> {
  const { failures, classes } = await runCampaign({
    name,
    title,
    lanes: LANES,
    short: SHORT,
    run,
  });
  assert.equal(failures.length, 0, 'printed above');
  for (const outcome of outcomes) assert.ok((classes.get(outcome) ?? 0) > 0, `no case: ${outcome}`);
}
