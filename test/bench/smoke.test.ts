/**
 * The bench works: every scenario and every installed peer starts, serves and gets figures. Nothing here judges a time.
 * What is not installed must be named as such.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Redis } from 'ioredis';
import { verdicts } from '../../bench/bars.ts';
import { chartOf } from '../../bench/chart.ts';
import { compare } from '../../bench/check.ts';
import { MATCHUPS } from '../../bench/matchups/all.ts';
import { nodeHttp } from '../../bench/peers/node-peers.ts';
import { REFUSED_PATH } from '../../bench/peers/peer.ts';
import { PEERS } from '../../bench/peers/registry.ts';
import { sluice } from '../../bench/peers/sluice.ts';
import { reportOf } from '../../bench/report.ts';
import { Arena } from '../../bench/rig/arena.ts';
import { startBackends } from '../../bench/rig/backend.ts';
import { OpenLoop } from '../../bench/rig/open-loop.ts';
import type { PeersResult } from '../../bench/rig/results.ts';
import { findProgram } from '../../bench/rig/tools.ts';
import { runScenario } from '../../bench/run.ts';
import { absentParts, runPeers } from '../../bench/run-peers.ts';
import { SCENARIOS } from '../../bench/scenarios/all.ts';
import { listen } from '../../test_backs/server.ts';
import { startRedis } from '../support/redis.ts';
import { makeTempFolder, removeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const SMOKE_PACE = { rounds: 1, durationSec: 1, warmUpSec: 0, crowd: 50, sharing: true };
const ONE_MIB = 2 ** 20;
const INSTALLED = PEERS.filter((peer) => peer.missing() === '');

test('every scenario of both benches gets figures of Sluice', async (t) => {
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
  await t.test('make bench-peers: all get figures, or the missing load generator is named', async () => {
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
      const missing = name === 'half-load' ? OpenLoop.missing() : '';
      for (const { peer, problem, rounds } of rows) {
        assert.deepEqual([peer, problem], ['sluice', missing], name);
        if (missing !== '') continue;
        assert.ok(rounds.length === 1 && Object.values(rounds[0]!).every(Number.isFinite), name);
      }
    }
  });
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

/** A backend that serves what the scenarios ask for and keeps the headers that it got. */
async function startRecorder(t: TestContext) {
  const seen: IncomingMessage['headers'][] = [];
  const sizes: Record<string, number> = { '/10k': 10 * 1024, '/1m': ONE_MIB };
  const server = createServer((request, response) => {
    seen.push(request.headers);
    let bodyBytes = 0;
    request.on('data', (chunk: Buffer) => {
      bodyBytes += chunk.length;
    });
    request.on('end', () => {
      const size = sizes[request.url ?? ''];
      const text = size === undefined ? `${bodyBytes} bytes here` : 'x'.repeat(size);
      response.setHeader('Content-Length', text.length);
      response.end(text);
    });
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  return { port: backend.port, seen };
}

/** The answers of those that refuse, of the tests below. */
const refusals = new Map<string, Response>();

for (const peer of INSTALLED) {
  test(`${peer.name} serves every path, with the forwarding fields, the log and the limit of the scenarios`, async (t) => {
    const { port, seen } = await startRecorder(t);
    const redis = peer.can.limiter ? await startRedis() : null;
    t.after(() => redis?.stop());
    const folder = makeTempFolder('sluice-bench-');
    const server = await peer.start(folder, {
      backendPorts: [port],
      workers: 1,
      accessLog: peer.can.accessLog,
      redisPort: redis?.port ?? null,
    });
    t.after(async () => {
      await server.stop();
      removeTempFolder(folder);
    });
    assert.match(peer.version(), /\d/);
    const url = `http://127.0.0.1:${server.port}`;
    const answer = await fetch(`${url}/tiny`);
    assert.match(await answer.text(), /bytes here$/);
    if (peer === sluice || peer === nodeHttp) {
      refusals.set(peer.name, await refusalOf(url + REFUSED_PATH));
    }
    if (peer === nodeHttp) return;
    assert.equal((await textOf(fetch(`${url}/10k`))).length, 10 * 1024);
    assert.equal((await textOf(fetch(`${url}/1m`))).length, ONE_MIB);
    const body = 'x'.repeat(ONE_MIB);
    assert.equal(await textOf(fetch(`${url}/upload`, { method: 'POST', body })), `${ONE_MIB} bytes here`);
    assertForwarded(seen.at(-1) ?? {}, answer);
    if (peer.can.accessLog) await assertLogged(peer.name, folder);
    if (redis === null) return;
    assert.match(answer.headers.get('ratelimit') ?? '', /r=999999\d{3};/);
    await fetch(`${url}/tiny`, { headers: { 'X-Forwarded-For': '10.1.2.3' } });
    assert.equal(await bucketCount(redis.url), 2, 'a bucket for each address');
  });
}

async function bucketCount(url: string): Promise<number> {
  const client = new Redis(url);
  try {
    const keys = await client.keys('*');
    return keys.filter((key) => /^bench|:default$/.test(key)).length;
  } finally {
    client.disconnect();
  }
}

test('the bare server’s 429 is like that of Sluice, whose requests go on refused', async () => {
  const [ours, bare] = ['sluice', 'node-http'].map((name) => refusals.get(name)!);
  const namesOf = ({ headers }: Response) =>
    [...headers.keys()].filter((name) => name !== 'connection').toSorted();
  assert.deepEqual(namesOf(bare!), namesOf(ours!));
  assert.equal((await bare!.text()).length, (await ours!.text()).length);
});

/** The first 429; a limit of one a second lets pass what comes before. */
async function refusalOf(url: string): Promise<Response> {
  return waitFor(`${url} to refuse`, async () => {
    const response = await fetch(url);
    return response.status === 429 ? response : null;
  });
}

function assertForwarded(headers: IncomingMessage['headers'], answer: Response): void {
  const text = (name: string) => String(headers[name]);
  assert.match(text('x-forwarded-for'), /127\.0\.0\.1$/);
  assert.match(text('x-real-ip'), /127\.0\.0\.1$/);
  assert.equal(text('x-forwarded-proto'), 'http');
  assert.match(text('x-forwarded-host'), /^127\.0\.0\.1/);
  assert.match(text('via'), /1\.1 /);
  assert.match(text('x-request-id'), /^[\w-]{8,}$/);
  assert.match(answer.headers.get('via') ?? '', /1\.1 /);
  assert.match(answer.headers.get('x-request-id') ?? '', /^[\w-]{8,}$/);
}

async function assertLogged(name: string, folder: string): Promise<void> {
  const files = () => readdirSync(folder).filter((file) => file === 'access.log' || file.endsWith('.stdout'));
  const line = await waitFor(`${name} to log the upload`, () =>
    files()
      .flatMap((file) => linesOf(join(folder, file)))
      .find((text) => text.startsWith('{') && text.includes('/upload')),
  );
  assert.doesNotThrow(() => JSON.parse(line), line);
}

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

test('what Redis needs counts in the bars of the limiter', () => {
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

test('make bench-check fails what needs over 15 % more relative to nginx, and nothing else', () => {
  const [baseline, same, worse] = [resultWith(20), resultWith(22.9), resultWith(23.1)];
  assert.deepEqual(
    [same, worse, resultWith(10)].map((fresh) => compare(baseline, fresh).map(({ regressed }) => regressed)),
    [[false], [true], [false]],
  );
});

test('the report shows lost bars, absent peers and scenarios without figures', () => {
  const lost = resultWith(20);
  const text = reportOf(lost, null);
  assert.match(text, /\| tiny GET \| ≤ 1\.35 × nginx \| 2\.00 × \(2\.00–2\.00\) \| \*\*not reached\*\* \|/);
  assert.match(text, /\* caddy took no part: caddy is not installed\./);
  assert.match(text, /\| caddy \| no figure: caddy is not installed/);
  assert.match(reportOf(resultWith(13), null), /\| 1\.30 × \(1\.30–1\.30\) \| reached \|/);
  assert.equal(verdicts(lost).find(({ work }) => work === '1 MiB upload')?.reached, null);
  assert.match(chartOf(lost), /^<svg .*Tiny &lt;GET>.*<\/svg>\n$/s);
});

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return []; // not written yet
  }
}

async function textOf(answer: Promise<Response>): Promise<string> {
  const response = await answer;
  assert.equal(response.status, 200, response.url);
  return response.text();
}
