/**
 * The bench works: every scenario starts, serves and gets figures. Nothing here judges a time.
 * What is not installed must be named as such.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verdicts } from '../../bench/bars.ts';
import { chartOf } from '../../bench/chart.ts';
import { compare } from '../../bench/check.ts';
import { MATCHUPS } from '../../bench/matchups/all.ts';
import { PEERS } from '../../bench/peers/registry.ts';
import { reportOf } from '../../bench/report.ts';
import { Arena } from '../../bench/rig/arena.ts';
import { startBackends } from '../../bench/rig/backend.ts';
import type { PeersResult } from '../../bench/rig/results.ts';
import { findProgram } from '../../bench/rig/tools.ts';
import { runScenario } from '../../bench/run.ts';
import { absentParts, runPeers } from '../../bench/run-peers.ts';
import { SCENARIOS } from '../../bench/scenarios/all.ts';

const SMOKE_PACE = { rounds: 1, durationSec: 1, warmUpSec: 0, crowd: 50, sharing: true };
const ONE_MIB = 2 ** 20;

test('every scenario of both benches gets figures for Sluice', async (t) => {
  const arena = await Arena.open(SMOKE_PACE, ['sluice']);
  t.after(() => arena.close());
  for (const scenario of SCENARIOS) {
    await t.test(`make bench: ${scenario.name} gets figures, all answers 2xx`, async () => {
      const pace = { durationSec: 5, warmUpSec: 0, amount: 128 };
      const { problem, figures } = await runScenario(scenario, arena, pace);
      assert.equal(problem, '');
      assert.deepEqual([figures.good, figures.badStatus, figures.errors], [128, 0, 0]);
      assert.ok(figures.cpuUs! > 0 && figures.userUs! + figures.systemUs! > 0);
      assert.ok(figures.rssMiB! > figures.workerRssMiB! && figures.workerRssMiB! > 0);
      if (scenario.limiter !== undefined) assert.ok(figures.redisCommandsPerRequest! > 0);
    });
  }
  await t.test(
    'make bench-peers: all scenarios get figures, or the missing load generator is named',
    async () => {
      const run = { matchups: MATCHUPS, pace: SMOKE_PACE, only: ['sluice'], arena, say: () => undefined };
      const result = await runPeers(run);
      if (findProgram('wrk') === null) {
        assert.match(result.absent.wrk ?? '', /is not installed/);
        assert.deepEqual(result.matchups, []);
        return;
      }
      const names = MATCHUPS.map(({ name }) => name);
      assert.deepEqual(
        result.matchups.map(({ name }) => name),
        names,
      );
      for (const { name, rows } of result.matchups) {
        assert.ok(rows.length > 0, name);
        const missing = result.absent[name] ?? '';
        for (const { peer, problem, rounds } of rows) {
          assert.deepEqual([peer, problem], ['sluice', missing], name);
          if (missing !== '') continue;
          assert.ok(rounds.length === 1 && Object.values(rounds[0]!).every(Number.isFinite), name);
        }
      }
    },
  );
});

test('a peer that is not installed is named, with what is missing', () => {
  const absent = absentParts();
  for (const peer of PEERS) {
    assert.equal(absent[peer.name] ?? '', peer.missing());
    if (peer.name in absent) assert.match(absent[peer.name] ?? '', /is not installed$/);
  }
  for (const ours of ['sluice', 'sluice-socket', 'node-http']) assert.equal(absent[ours], undefined);
  assert.equal('wrk' in absent, findProgram('wrk') === null);
});

test('the backends of a machine without nginx serve the same paths', async (t) => {
  const backends = await startBackends(null);
  t.after(() => backends.stop());
  assert.equal(backends.ports.length, 3);
  const url = `http://127.0.0.1:${backends.ports[2]}`;
  assert.equal((await textOf(fetch(`${url}/1m`))).length, ONE_MIB);
  assert.equal(await textOf(fetch(`${url}/upload`, { method: 'POST', body: 'x' })), 'nineteen bytes here');
});

/** Sluice at `cpuUs`, nginx at 10. */
function resultWith(cpuUs: number): PeersResult {
  const row = (label: string, us: number) => ({
    ...{ label, peer: label, problem: '' },
    rounds: [{ cpuUs: us, userUs: us / 2, systemUs: us / 2 }],
  });
  const lost = { label: 'caddy', peer: 'caddy', problem: 'caddy is not installed', rounds: [] };
  return {
    kind: 'peers',
    ...{
      startedAt: '2026-01-02T03:04:05.678Z',
      complete: true,
      rounds: 1,
      durationSec: 1,
      backends: 'three',
    },
    revision: { commit: '0123456789abcdef', dirty: false },
    machine: { cpuModel: 'a CPU', cpuCount: 2, memoryMiB: 1, kernel: '6', node: '26' },
    loadAverage: { before: 0, after: 1 },
    ...{ commands: { nginx: 'nginx -c $DIR/nginx.conf' }, versions: { nginx: '1.2.3' } },
    absent: { caddy: 'caddy is not installed' },
    matchups: [
      {
        name: 'tiny',
        title: 'Tiny <GET>',
        load: 'wrk',
        rows: [row('sluice', cpuUs), row('nginx', 10), lost],
      },
    ],
  };
}

test('the goals of the limiter include the CPU time of Redis', () => {
  const result = resultWith(20);
  const row = (label: string, cpuUs: number, cpuWithRedisUs: number) => ({
    ...{ label, peer: label, problem: '', rounds: [{ cpuUs, cpuWithRedisUs }] },
  });
  const rows = [row('sluice', 22, 24), row('nginx-lua-redis', 20, 60)];
  result.matchups.push({ name: 'limiter-hot', title: 'hot', load: 'wrk', rows });
  const bars = verdicts(result).filter(({ work }) => work === 'one hot client in Redis');
  assert.deepEqual(
    bars.map(({ measured, reached }) => [measured.slice(0, 6), reached]),
    [
      ['0.40 ×', true],
      ['no fig', null],
    ],
  );
});

test('make bench-check fails exactly when the ratio to nginx is over 15 % worse', () => {
  const [baseline, same, worse] = [resultWith(20), resultWith(22.9), resultWith(23.1)];
  assert.deepEqual(
    [same, worse, resultWith(10)].map((fresh) => compare(baseline, fresh).map(({ regressed }) => regressed)),
    [[false], [true], [false]],
  );
});

test('the report shows missed goals, absent peers and scenarios without figures', () => {
  const lost = resultWith(20);
  const text = reportOf(lost, null);
  assert.match(text, /\| tiny GET \| ≤ 1\.35 × nginx \| 2\.00 × \(2\.00–2\.00\) \| \*\*not reached\*\* \|/);
  assert.match(text, /\* caddy took no part: caddy is not installed\./);
  assert.match(text, /\| caddy \| no figure: caddy is not installed/);
  assert.match(reportOf(resultWith(13), null), /\| 1\.30 × \(1\.30–1\.30\) \| reached \|/);
  assert.equal(verdicts(lost).find(({ work }) => work === '1 MiB upload')?.reached, null);
  assert.match(chartOf(lost), /^<svg .*Tiny &lt;GET>.*<\/svg>\n$/s);
});

async function textOf(answer: Promise<Response>): Promise<string> {
  const response = await answer;
  assert.equal(response.status, 200, response.url);
  return response.text();
}
