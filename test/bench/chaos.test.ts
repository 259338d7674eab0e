/** The chaos run shows what it finds: bars that are missed, faults that could not be injected, and the seed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { atLeast, atMost, type Fault } from '../../bench/chaos/fault.ts';
import { reportOf } from '../../bench/chaos/report.ts';
import { slopeOf } from '../../bench/chaos/resources.ts';
import { readRun } from '../../bench/chaos/run.ts';
import { noneFailed } from '../../bench/chaos/stage.ts';
import type { SubjectKind } from '../../bench/chaos/subjects/subject.ts';
import { runChaos } from '../../bench/chaos/suite.ts';
import { OutcomeTable } from '../../bench/rig/outcomes.ts';
import { runToEnd } from '../support/child.ts';

const RUN = fileURLToPath(new URL('../../bench/chaos/run.ts', import.meta.url));

const nobody = (name: string): SubjectKind => ({
  name,
  missing: () => '',
  version: () => '1.2',
  start: () => Promise.reject(new Error('there is no server')),
});

const drawn: number[] = [];
const closed: string[] = [];
const FAULTS: Fault[] = [
  {
    name: 'draws',
    title: 'it draws',
    async run(stage) {
      stage.defer(() => closed.push('first'));
      stage.defer(() => closed.push('second'));
      drawn.push(stage.random.next());
      return [
        atMost('≤ 5 errors', 6, 5, { more: 'one too many' }),
        atLeast('≥ 90 %', 90, 90, { unit: ' %' }),
      ];
    },
  },
  {
    name: 'breaks',
    title: 'it breaks',
    run: async (stage) => {
      await stage.subject([]);
      return [];
    },
  },
  { name: 'ours', title: 'ours alone', missingIn: () => 'it has no workers', run: async () => [] },
];

const run = (name: string, seed: number, faults = FAULTS) =>
  runChaos({
    faults,
    kind: nobody(name),
    seed,
    short: false,
    soakMin: 1,
    complete: true,
    say: () => undefined,
  });

test('a missed bar is shown, a fault that cannot be injected is a problem, and all that was started is closed', async () => {
  const { faults, complete, seed } = await run('sluice', 7);
  assert.deepEqual(closed.splice(0), ['second', 'first']);
  assert.deepEqual([complete, seed], [true, 7]);
  assert.deepEqual(
    faults[0]?.findings.map(({ measured, reached }) => [measured, reached]),
    [
      ['6 (one too many)', false],
      ['90 %', true],
    ],
  );
  assert.deepEqual([faults[1]?.problem, faults[2]?.problem], ['there is no server', '']);
  assert.equal((await run('haproxy', 7)).faults[2]?.absent, 'it has no workers');
});

test('a fault draws the same with the same seed, whichever others run, and something else with another', async () => {
  drawn.length = 0;
  await run('sluice', 7);
  await run('sluice', 7, FAULTS.slice(0, 1));
  await run('sluice', 8);
  assert.equal(drawn[0], drawn[1]);
  assert.notEqual(drawn[0], drawn[2]);
});

test('a tally counts the requests of its window alone, those without an outcome too', () => {
  const table = new OutcomeTable(4);
  for (const row of [0, 1, 2, 3]) table.dueMs[row] = 100 * row;
  table.count[0] = 4;
  table.end(0, 200, 97);
  table.end(1, 503);
  table.end(2, -1);
  const { due, good, failed, waiting, failures } = table.tally(100);
  assert.deepEqual([due, good, failed, waiting], [3, 0, 2, 1]);
  assert.deepEqual(failures, { '503': 1, refused: 1 });
  assert.equal(table.tally(0, 100).good, 1);
  assert.equal(noneFailed(table.tally(0, 100)).reached, true);
  const { reached, measured } = noneFailed(table.tally());
  assert.deepEqual([reached, measured], [false, '2 of 4 (1 × 503, 1 × refused)']);
});

test('the page has a row per bar and a column per server, with what each missed', async () => {
  const [ours, theirs] = [await run('sluice', 7), await run('haproxy', 9)];
  const text = reportOf(ours, [theirs]);
  assert.match(text, /\| fault \| bar \| Sluice \| {2}\| haproxy \|/);
  assert.match(
    text,
    /\| it draws \| ≤ 5 errors \| 6 \(one too many\) \| \*\*not reached\*\* \| \*\*6 \(one too many\)\*\* \|/,
  );
  assert.match(text, /\| {2}\| ≥ 90 % \| 90 % \| reached \| 90 % \|/);
  assert.match(text, /\| it breaks \| {2}\| no figure: there is no server \| – \| {2}\|/);
  assert.match(text, /Seed 7\. .*\nhaproxy 1\.2: .* seed 9\./);
});

test('make chaos takes names of faults, a seed and a peer, and refuses others with exit 2', async () => {
  const { faults, seed, short, complete } = readRun(['--only=flapping,sigterm', '--seed=7', '--short']);
  assert.deepEqual(
    faults.map(({ name }) => name),
    ['flapping', 'sigterm'],
  );
  assert.deepEqual([seed, short, complete], [7, true, false]);
  assert.equal(readRun(['--only=', '--seed=', '--peer=']).complete, true);
  for (const [word, said] of [
    ['--only=nothing', /^no fault nothing; there is all, backend-killed/],
    ['--seed=x', /^not a seed: x/],
    ['--peer=apache', /^no peer apache/],
  ] as const) {
    const { code, stderr } = await runToEnd(process.execPath, [RUN, word]);
    assert.equal(code, 2, word);
    assert.match(stderr.join('\n'), said);
  }
});

test('the slope of the memory ignores what lies between two collections of garbage', () => {
  const sawtooth = (atMin: number) => 90 + 3 * (atMin % 4);
  const samples = (leak: number) =>
    Array.from({ length: 480 }, (_, i) => i / 60).map((atMin) => ({
      atMin,
      mib: [sawtooth(atMin) + leak * atMin, sawtooth(atMin + 2) + leak * atMin],
    }));
  assert.ok(Math.abs(slopeOf(samples(0))) < 0.1, `${slopeOf(samples(0))}`);
  assert.ok(Math.abs(slopeOf(samples(1)) - 2) < 0.1, `${slopeOf(samples(1))}`);
});
