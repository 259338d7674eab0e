/** Reads what Sluice writes with other parsers: requests with node's server, answers with node's client and undici. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CaseResult, isSameFailure, runCampaign } from './campaign.ts';
import { compareRelayed } from './compare-relayed.ts';
import { responseCase, soundResponse } from './generate-responses.ts';
import { minimize } from './minimize.ts';
import { ProxyLane } from './proxy-lane.ts';
import { Random, segmentsOf } from './random.ts';
import { RequestReader } from './request-reader.ts';
import { expectedOf, requestToWrite, writtenBytes } from './request-writing.ts';

const LANES = 16;

test("node's server reads every request exactly as the writer got it", async () => {
  const reader = new RequestReader();
  async function run(random: Random): Promise<CaseResult> {
    const requests = Array.from({ length: 1 + random.below(3) }, () => requestToWrite(random));
    const text = await writtenBytes(random, requests);
    const read = await reader.read(segmentsOf(random, text));
    const expected = requests.map(expectedOf);
    const classes = requests.map(
      ({ request }) =>
        `request with ${request.bodyLength < -1 ? 'no body' : request.bodyLength < 0 ? 'chunks' : 'a length'} read as written`,
    );
    const isSame = JSON.stringify(read) === JSON.stringify(expected);
    return isSame
      ? { classes, failures: [] }
      : { classes: [], failures: [`read otherwise: ${JSON.stringify({ text, expected, read })}`] };
  }
  const { failures } = await runCampaign({
    name: 'writer',
    title: 'requests that we write, read by node',
    lanes: 64,
    short: { count: 1_000, sec: 1 },
    share: 0.5,
    run,
  });
  assert.equal(failures.length, 0, 'undecided differences, printed above');
});

interface Sent {
  text: string;
  method: 'GET' | 'HEAD';
}

function sentBy(random: Random): Sent {
  if (random.oneIn(2)) return responseCase(random);
  const text = soundResponse(random);
  // A backend that disconnects in the middle of its answer.
  const sent = random.oneIn(4) ? text.slice(0, random.below(text.length)) : text;
  return { text: sent, method: random.oneIn(6) ? 'HEAD' : 'GET' };
}

test("node's client and undici read every answer alike, and a broken one never looks complete", async (t) => {
  const lanes = await Promise.all(Array.from({ length: LANES + 1 }, () => ProxyLane.start(t)));
  async function judge(lane: number, { text, method }: Sent, random: Random): Promise<CaseResult> {
    const version = random.oneIn(8) ? '1.0' : '1.1';
    const asked = Buffer.from(`${method} /x HTTP/${version}\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const bytes = segmentsOf(random, text);
    const exchange = await (lanes[lane] as ProxyLane).exchange([asked], {
      owed: () => false,
      answer: () => ({ bytes, end: true }),
    });
    return compareRelayed({ sent: text, method, version, exchange }, random);
  }
  const { classes, failures, cases } = await runCampaign({
    name: 'writer',
    title: 'answers that we write, read by node and undici',
    lanes: LANES,
    short: { count: 800, sec: 2 },
    share: 0.25,
    run: (random, lane) => judge(lane, sentBy(random), random),
    minimize: (random, failure) => {
      const { text, method } = sentBy(random);
      const again = async (shorter: string) =>
        isSameFailure(await judge(LANES, { text: shorter, method }, new Random(1)), failure);
      return minimize(text, again);
    },
  });
  assert.equal(failures.length, 0, 'undecided differences, printed above');
  for (const kind of ['relayed', 'cut', 'answered by ourselves']) {
    assert.ok(cases < 100 || (classes.get(`response ${kind}`) ?? 0) > cases / 100, kind);
  }
});
