/** `sluice top` against an admin port that is made of a few fixed answers, without and with a terminal. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CLI } from '../support/product.ts';
import { runSluice } from '../support/run-sluice.ts';
import { spawnSluice } from '../support/sluice.ts';
import { startTerminal } from '../support/terminal.ts';
import { waitFor, within } from '../support/wait.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function sampleOf(number: number): string {
  const rates = { requestsPerSec: 1000 + number, errorsPerSec: 0.5, limitedPerSec: 2 };
  const latency = { p50Ms: 1.5, p95Ms: 9.25, p99Ms: 120 };
  return JSON.stringify({
    problems: Array.from({ length: 12 }, () => {
      return { code: 'x', severity: 'error', text: 'backend \u001b]0;a of pool app is down', since: null };
    }),
    now: {
      ...rates,
      ...latency,
      inFlight: 3,
      connections: 7,
      tunnels: 0,
      bytesInPerSec: 5,
      bytesOutPerSec: 3_000_000,
    },
    slowestRoute: null,
    routes: [
      ...Array.from({ length: 40 }, (_, at) => ({
        route: `route-${at}`,
        ...rates,
        ...latency,
        hiddenBy: at === 1 ? 'route-0' : null,
      })),
      { route: '_none', ...rates, requestsPerSec: number, ...latency },
    ],
    policies: [{ policy: 'default', allowedPerSec: 9, limitedPerSec: 2, shadowPerSec: 0, refusedPerSec: 0 }],
    workers: [
      {
        ...{
          id: 0,
          pid: 4711,
          state: 'serving',
          uptimeSec: 7_500,
          cpuRatio: 0.42,
          residentBytes: 83_886_080,
        },
        ...{ loopDelayMs: 0.4, connections: 7, inFlight: 3, requestsPerSec: 1000, overload: 'none' },
      },
    ],
    waitingWorkers: [{ id: 1, startsInSec: 4 }],
    pools: [
      {
        pool: 'app',
        backends: [
          {
            id: 'one',
            state: 'up',
            reason: null,
            inFlight: 3,
            weight: 1,
            requestsPerSec: 900,
            p99Ms: 5,
            share: 1,
          },
          { id: 'two', state: 'down', reason: 'timeout', inFlight: 0, weight: 1 },
        ],
      },
    ],
  });
}

/** A sample as soon as somebody looks, and one more for each call of `next`. */
async function startPort(t: TestContext, isTopSilent = false) {
  const viewers = new Set<ServerResponse>();
  let number = 0;
  const send = (to: ServerResponse) => to.write(`event: sample\ndata: ${sampleOf(number)}\n\n`);
  const server = createServer((request, response) => {
    if (request.url === '/api/v1/events') {
      viewers.add(response.writeHead(200, { 'content-type': 'text/event-stream' }));
      response.on('close', () => viewers.delete(response));
      response.write(': hello\n\nevent: change\nid: 1\ndata: {}\n\n');
      send(response);
    } else if (request.url?.startsWith('/api/v1/top')) {
      if (isTopSilent) return;
      const items = [{ client: 'acme', kind: 'client', requestsPerSec: 500, limitedPerSec: 2, share: 0.5 }];
      response.end(JSON.stringify({ windowSec: 60, totalPerSec: 1000, errorBoundPerSec: 0, items }));
    } else if (request.url === '/api/v1/status') {
      const stores = {
        store: { kind: 'redis', connected: false },
        database: { kind: 'embedded', connected: true },
      };
      const about = { version: '1.2.3', phase: 'ready', phaseSec: 90_000, revision: 4, uptimeSec: 90_061 };
      response.end(JSON.stringify({ ...JSON.parse(sampleOf(0)), ...about, ...stores, pools: undefined }));
    } else if (request.url === '/api/v1/pools') {
      response.end(JSON.stringify({ items: JSON.parse(sampleOf(0)).pools, next: null }));
    } else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    viewers,
    next: () => {
      number++;
      for (const viewer of viewers) send(viewer);
    },
  };
}

test('without a terminal top prints a block per sample, with --json a line, and --once ends', async (t) => {
  const port = await startPort(t);
  const [once, json] = await Promise.all([
    runSluice(t, ['top', '--once', '--admin', port.url]),
    runSluice(t, ['top', '--once', '--json', '--admin', port.url]),
  ]);
  assert.deepEqual([once.code, once.err, json.code], [0, '', 0]);
  assert.equal(json.out, sampleOf(0));
  const lines = once.out.split('\n');
  assert.match(lines[0] ?? '', /^\d{4}-\d\d-\d\dT/);
  assert.equal(lines[1], 'PROBLEMS');
  assert.match(lines[2] ?? '', /^error {2}backend \\u\{1b\}\]0;a of pool app is down$/);
  assert.match(once.out, /\n *1,000 +0\.5 +2\.0 +1\.50 +9\.25 +120 +3 +7 +0 +5 B +2\.9 MiB\n/);
  assert.match(once.out, / TUNNELS +BODIES IN\/S +BODIES OUT\/S\n/);
  assert.match(once.out, /\nPOOL +BACKEND +STATE +WEIGHT +IN FLIGHT +ATTEMPTS\/S +/, 'retries count');
  assert.match(once.out, /\nROUTE +REQ\/S +ERR\/S +429\/S /);
  assert.doesNotMatch(once.out, /_none|none matches/, 'a row of requests that there are not');
  assert.match(once.out, /\napp +two +down +1 +0 +- +- +- +timeout\n/);
  assert.match(once.out, /\n0 +serving +4711 +2 h 5 min +42 % +80 MiB +0\.40 +7 +3 +1,000\n/);
  const child = spawnSluice(['top', '--admin', port.url]);
  t.after(() => child.kill());
  await child.waitForLine('1,000');
  port.next();
  await child.waitForLine('1,001');
  await child.waitForLine(/^none matches +1\.0 /);
  await waitFor('the heaviest client', () => {
    port.next();
    return child.stdout.some((line) => line.startsWith('acme'));
  });
  // The stream ends: it connects again.
  for (const viewer of port.viewers) viewer.destroy();
  await child.waitForLine(/trying again$/, { from: 'stderr' });
  await waitFor('a new connection', () => port.viewers.size === 1);
  await child.stop('SIGTERM').catch(() => undefined);
  await waitFor('the viewer to be gone', () => port.viewers.size === 0);
});

test('status is one screen that begins with what is wrong', async (t) => {
  const port = await startPort(t);
  const { code, out, err } = await runSluice(t, ['status', '--admin', port.url]);
  assert.deepEqual([code, err], [0, '']);
  assert.deepEqual(out.split('\n').slice(0, 4), [
    'sluice 1.2.3: ready for 1 d 1 h, revision 4; limits in redis (away), clients in the embedded database',
    '',
    'PROBLEMS',
    'error  backend \\u{1b}]0;a of pool app is down',
  ]);
  assert.match(out, /(\nerror .*){10}\n… 2 more \(--json\)\n\nTRAFFIC\n/);
  assert.match(out, /\n1 +starts again in 4 s +-/);
  assert.match(out, /\nroute-1 \(never reached: route-0\) /);
  assert.match(out, /\napp +two +down +1 +0 +- +- +- +timeout\n/);
});

test('in a terminal top shows a screen, follows keys and the size, and leaves the terminal as it was', async (t) => {
  const port = await startPort(t);
  const env = { NO_COLOR: '1' };
  const command = `${process.execPath} ${CLI} top --admin ${port.url}`;
  const terminal = startTerminal(t, command, { columns: 60, rows: 24, env, cwd: ROOT });
  await terminal.sees('q quit');
  await terminal.sees('1,000');
  terminal.type('p');
  await terminal.sees('paused');
  port.next();
  terminal.type('p');
  await terminal.sees('1,001');
  for (let tab = 1; tab <= 5; tab++) terminal.type('\t');
  await terminal.sees('route-15');
  terminal.type('\u001b[B');
  await terminal.sees('(2–');
  terminal.resize(100, 60);
  await terminal.sees('route-39');
  terminal.type('q');
  assert.equal(await terminal.exited, 0, terminal.plain());
  const shown = terminal.shown();
  assert.ok(!shown.includes('\u001b]0;a'), 'a hostile name reaches the terminal');
  assert.doesNotMatch(shown, /\u001b\[(3[0-7]|9[0-7])m/, 'colours in spite of NO_COLOR');
  assert.ok(shown.includes('\u001b[?1049h') && shown.includes('\u001b[?1049l'), 'not an alternate screen');
  await waitFor('the viewer to be gone', () => port.viewers.size === 0);
});

test('a terminal that tells no size is one of 80 × 24', async (t) => {
  const port = await startPort(t);
  const command = `${process.execPath} ${CLI} top --admin ${port.url}`;
  const terminal = startTerminal(t, command, { columns: 0, rows: 0, cwd: ROOT });
  await terminal.sees('1,000');
  for (let tab = 1; tab <= 5; tab++) terminal.type('\t');
  await terminal.sees('(1–21 of ');
  terminal.type('q');
  assert.equal(await terminal.exited, 0, terminal.plain());
});

test('q ends top at once, also while the port owes it an answer', async (t) => {
  const port = await startPort(t, true);
  const command = `${process.execPath} ${CLI} top --admin ${port.url}`;
  const terminal = startTerminal(t, command, { cwd: ROOT });
  await terminal.sees('waiting for the first sample');
  terminal.type('q');
  assert.equal(await within(terminal.exited, 3_000, 'top to end'), 0, terminal.plain());
});

test('an admin port that is not there, or refuses, is told before any screen', async (t) => {
  const { code, out, err } = await runSluice(t, ['top', '--once', '--admin', 'http://127.0.0.1:1']);
  assert.deepEqual([code, out], [1, '']);
  assert.match(err, /^sluice: the admin port at http:\/\/127\.0\.0\.1:1 cannot be reached: /);
});
