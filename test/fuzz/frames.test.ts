/**
 * Gives frames, valid and wrong, to sessions of ours and to those of node:http2 (nghttp2): both must see the same messages, or refuse, but
 * for decided differences. However the bytes are cut into reads, ours see the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerOurs, NodeClients } from './answer-lane.ts';
import { type CaseResult, runCampaign } from './campaign.ts';
import { compareFrames, differenceOfReads } from './compare-frames.ts';
import { largeReads, type OurOutcome, type Outcome } from './frame-outcome.ts';
import { frameCase } from './generate-frames.ts';
import type { Random } from './random.ts';
import { NodeServer, requestOurs } from './request-lane.ts';

/** Longer parts are not read byte by byte. */
const SINGLE_MAX_BYTES = 3_000;

interface Readers {
  isAnswering: boolean;
  ours(parts: readonly Buffer[], endsOf: (part: Buffer) => number[]): Promise<OurOutcome>;
  theirs(parts: readonly Buffer[]): Promise<Outcome>;
}

async function judge(random: Random, { isAnswering, ours, theirs }: Readers): Promise<CaseResult> {
  const { parts, shown } = frameCase(random, isAnswering);
  const [whole, their] = await Promise.all([ours(parts, largeReads), theirs(parts)]);
  const { classes, failures } = compareFrames(whole, their, isAnswering);
  const pieces = await ours(parts, (part) => someReads(random, part));
  failures.push(...differenceOfReads('in pieces', whole, pieces));
  if (parts.every(({ length }) => length < SINGLE_MAX_BYTES))
    failures.push(...differenceOfReads('byte by byte', whole, await ours(parts, singleReads)));
  if (failures.length > 0) failures.push(...shown);
  return { classes, failures };
}

function someReads(random: Random, part: Buffer): number[] {
  const ends = new Set(largeReads(part));
  for (let left = 1 + random.below(12); left > 0; left--) ends.add(1 + random.below(part.length));
  return [...ends].sort((a, b) => a - b);
}

function singleReads({ length }: Buffer): number[] {
  return Array.from({ length }, (_, i) => i + 1);
}

function check(report: { classes: Map<string, number>; failures: string[]; cases: number }): void {
  assert.equal(report.failures.length, 0, 'undecided differences, printed above');
  // Both must occur, or the test proves little.
  for (const kind of ['read as the same', 'both refuse'])
    assert.ok((report.classes.get(kind) ?? 0) > report.cases / 8, kind);
}

test('a server of ours and nghttp2 see the same in all frames of a client, except for decided differences', async () => {
  const server = new NodeServer();
  await server.start();
  try {
    const readers = {
      isAnswering: false,
      ours: requestOurs,
      theirs: (parts: readonly Buffer[]) => server.run(parts),
    };
    const report = await runCampaign({
      name: 'frames',
      title: 'frames of clients, read by a session and by nghttp2',
      lanes: 16,
      short: { count: 3_000, sec: 4 },
      run: (random) => judge(random, readers),
    });
    check(report);
  } finally {
    server.close();
  }
});

test('a client of ours and nghttp2 see the same in all frames of a server, except for decided differences', async () => {
  const lanes = Array.from({ length: 12 }, () => new NodeClients());
  for (const lane of lanes) await lane.start();
  try {
    const readers = lanes.map((lane) => ({
      isAnswering: true,
      ours: answerOurs,
      theirs: (parts: readonly Buffer[]) => lane.run(parts),
    }));
    const report = await runCampaign({
      name: 'frames',
      title: 'frames of servers, read by a session and by nghttp2',
      lanes: lanes.length,
      short: { count: 2_000, sec: 4 },
      run: (random, lane) => judge(random, readers[lane]!),
    });
    check(report);
  } finally {
    for (const lane of lanes) lane.close();
  }
});
