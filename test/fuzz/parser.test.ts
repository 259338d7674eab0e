/**
 * Compares our request parser with llhttp. The bytes go through a client's connection without a socket: whole, in pieces
 * and one by one. All three must give what node's server gives, or refuse by a named rule.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CaseResult, isSameFailure, runCampaign } from './campaign.ts';
import { compareParsed, differenceOfCuts } from './compare-parsed.ts';
import { feedConnection, singleEnds } from './fed-connection.ts';
import { editedCase } from './generate-edits.ts';
import { pipelineCase } from './generate-requests.ts';
import { minimize } from './minimize.ts';
import { Random, segmentsOf } from './random.ts';
import { RequestReader } from './request-reader.ts';

const reader = new RequestReader();

interface Case {
  kind: 'generated' | 'edited';
  text: string;
  /** Of what the proxy does with the requests. */
  seed: number;
}

function caseOf(random: Random): Case {
  const seed = random.next();
  return random.oneIn(2)
    ? { kind: 'edited', text: editedCase(random), seed }
    : { kind: 'generated', text: pipelineCase(random), seed };
}

function endsOf(segments: readonly Buffer[]): number[] {
  let end = 0;
  return segments.map(({ length }) => (end += length));
}

async function judge({ kind, text, seed }: Case): Promise<CaseResult> {
  const bytes = Buffer.from(text, 'latin1');
  const random = new Random(seed);
  const options = { seed, random };
  const whole = feedConnection(bytes, [bytes.length], options);
  const pieces = endsOf(segmentsOf(random, text));
  const failures: string[] = [];
  for (const [name, ends] of [
    ['in pieces', pieces],
    ['byte by byte', singleEnds(bytes)],
  ] as const) {
    const difference = differenceOfCuts(whole, feedConnection(bytes, ends, options));
    if (difference !== null) failures.push(`otherwise ${name}: ${difference}`);
  }
  const read = await reader.read([bytes]);
  const compared = compareParsed(whole, read, text);
  failures.push(...compared.failures);
  if (failures.length > 0) failures.push(JSON.stringify({ text, whole, read }));
  return { classes: compared.classes.map((name) => `${kind}: ${name}`), failures };
}

test('our parser and llhttp read the same requests in every pipeline, except for decided differences', async () => {
  const { classes, failures, cases } = await runCampaign({
    name: 'parser',
    title: 'requests, read by our parser and by llhttp',
    lanes: 128,
    short: { count: 8_000, sec: 3 },
    run: (random) => judge(caseOf(random)),
    minimize: (random, failure) => {
      const made = caseOf(random);
      return minimize(made.text, async (text) => isSameFailure(await judge({ ...made, text }), failure));
    },
  });
  assert.equal(failures.length, 0, 'undecided differences, printed above');
  // All kinds must occur, or the test proves little.
  for (const kind of ['generated', 'edited'])
    assert.ok(cases < 100 || (classes.get(`${kind}: read as the same`) ?? 0) > cases / 8, kind);
});
