/** Sends requests through a whole proxy. The backend must get what node's server reads in the same bytes, or nothing. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { takeAnswers } from './answers.ts';
import { type CaseResult, isSameFailure, runCampaign } from './campaign.ts';
import { compareRequests } from './compare-requests.ts';
import { LAST_TARGET, pipelineCase } from './generate-requests.ts';
import { minimize } from './minimize.ts';
import { type Exchange, ProxyLane } from './proxy-lane.ts';
import { type Random, segmentsOf } from './random.ts';
import { type ReadRequest, RequestReader } from './request-reader.ts';

const LANES = 16;
const reader = new RequestReader();

function echo(index: number) {
  return {
    bytes: [Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Echo: ${index}\r\n\r\n`)],
    end: false,
  };
}

async function judge(lane: ProxyLane, text: string, random: Random): Promise<CaseResult> {
  const segments = segmentsOf(random, text);
  const read = await reader.read([Buffer.from(text, 'latin1')]);
  const wholeCount = read.filter(({ complete }) => complete).length;
  const closes = read.at(-1)?.complete === true && read.at(-1)?.target === LAST_TARGET;
  const exchange = await lane.exchange(segments, {
    owed: (received) => !closes && takeAnswers(received).answers.length >= wholeCount,
    answer: echo,
  });
  const { classes, failures } = compareRequests(read, exchange, text);
  failures.push(...answerFaults(exchange, read, closes));
  const context = failures.length === 0 ? [] : [JSON.stringify({ text, read, exchange })];
  return { classes: classes.map((name) => `request ${name}`), failures: [...failures, ...context] };
}

function answerFaults(exchange: Exchange, read: readonly ReadRequest[], closes: boolean): string[] {
  const { answers, whole } = takeAnswers(exchange.received);
  const faults: string[] = exchange.stuck === '' ? [] : [exchange.stuck];
  if (!whole && exchange.closed) faults.push('answers with something before, between or after');
  const echoes = answers.filter((answer) => answer.echo >= 0).map((answer) => answer.echo);
  if (echoes.some((index, i) => index !== i)) faults.push(`answers out of order: ${echoes}`);
  const own = answers.filter((answer) => answer.echo < 0);
  if (own.length > 1 || (own.length === 1 && answers.at(-1)?.echo !== -1))
    faults.push('more than one refusal, or not the last');
  if (own.some(({ status }) => ![400, 408, 413, 414, 417, 431, 501, 505].includes(status)))
    faults.push(`status ${own[0]?.status}`);
  if (answers.length > read.length + 1) faults.push(`${answers.length} answers to ${read.length} requests`);
  if (closes && echoes.length !== exchange.requests.length)
    faults.push(`${echoes.length} answers of ${exchange.requests.length} arrived`);
  return faults;
}

async function startLanes(t: TestContext): Promise<ProxyLane[]> {
  return Promise.all(Array.from({ length: LANES }, () => ProxyLane.start(t)));
}

test('a backend sees exactly the requests that were sent, in canonical form, or nothing', async (t) => {
  const lanes = await startLanes(t);
  const spare = await ProxyLane.start(t);
  const laneOf = (number: number) => lanes[number] ?? spare;
  const { classes, failures, cases } = await runCampaign({
    name: 'requests',
    title: 'pipelines of requests through a proxy',
    lanes: LANES,
    share: 0.4,
    short: { count: 1_500, sec: 3 },
    run: (random, lane) => judge(laneOf(lane), pipelineCase(random), random),
    minimize: (random, failure) =>
      minimize(pipelineCase(random), async (text) =>
        isSameFailure(await judge(spare, text, random), failure),
      ),
  });
  assert.equal(failures.length, 0, 'undecided differences, printed above');
  assert.ok((classes.get('request forwarded as one canonical request') ?? 0) > cases / 2);
});
