/** The open-loop generator accounts for every scheduled request, whatever the server does. Without a C compiler the bench must say so. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { compilerMissing } from '../../bench/rig/compile.ts';
import { checked, OpenLoop } from '../../bench/rig/open-loop.ts';
import { listen } from '../../test_backs/server.ts';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';

const OK = 'HTTP/1.1 200 OK\r\nX-Filler: Content-Length: 3\r\ncontent-LENGTH:  12\r\n\r\ntwelve bytes';
const REFUSAL = 'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n';
const GOODBYE = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok';

/** What a server writes for its nth request: a text, or parts in separate packets. */
type Answers = (count: number, socket: Socket) => string | string[];

async function startServer(t: TestContext, answers: Answers) {
  const seen = { requests: 0, text: '' };
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      seen.text = chunk.toString('latin1');
      seen.requests += 1;
      void writeParts(socket, [answers(seen.requests, socket)].flat());
    });
  });
  const { port, close } = await listen(server);
  t.after(() => close());
  return { port, seen };
}

async function writeParts(socket: Socket, parts: string[]): Promise<void> {
  for (const part of parts) {
    await new Promise((resolve) => socket.write(part, 'latin1', resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (parts.join('').includes('Connection: close')) socket.end();
}

const CONNECTIONS = 256;
const WORK = { path: '/tiny', ratePerSec: 800, durationSec: 0.5, seed: 7 };

/** A program that prints what the bench prints first: who is absent, and why. */
const SAY_ABSENT = `
  import { absentParts } from '${new URL('../../bench/run-peers.ts', import.meta.url)}';
  console.log(JSON.stringify(absentParts()));
`;

async function absentWith(folders: string): Promise<Record<string, string>> {
  const words = ['--input-type=module', '-e', SAY_ABSENT];
  const { code, stdout, stderr } = await runToEnd(process.execPath, words, { env: { PATH: folders } });
  assert.equal(code, 0, stderr.join('\n'));
  return JSON.parse(stdout.join(''));
}

test('the bench names half-load as absent exactly when there is no C compiler', async (t) => {
  const folder = tempFolder(t);
  // If the folders that the bench always searches contain all programs, it still finds the compiler.
  const found = ['/usr/sbin', '/sbin', '/usr/local/sbin'].some((each) => existsSync(join(each, 'cc')));
  assert.equal((await absentWith(folder))['half-load'], found ? undefined : 'cc is not installed');
  writeFileSync(join(folder, 'cc'), '#!/bin/sh\n', { mode: 0o755 });
  assert.equal((await absentWith(folder))['half-load'], undefined);
});

// Without a compiler the bench runs too, and only the test above applies.
if (compilerMissing() === '') proveGenerator(OpenLoop.build());

function proveGenerator(openLoop: OpenLoop): void {
  after(() => openLoop.close());

  test('the open-loop generator sends a Poisson process, the same for the same seed, and reads answers in pieces', async (t) => {
    const parts = [OK.slice(0, 5), OK.slice(5, 17), OK.slice(17, -14), OK.slice(-14, -6), OK.slice(-6)];
    const { port, seen } = await startServer(t, (count) => (count % 3 === 0 ? parts : OK));
    const figures = checked(await openLoop.run({ ...WORK, port }));
    const sent = seen.requests - CONNECTIONS;
    assert.match(seen.text, /^GET \/tiny HTTP\/1\.1\r\nHost: [^\r]+\r\n\r\n$/);
    // Five standard deviations.
    assert.ok(Math.abs(sent - 400) < 100, `${sent} requests`);
    // The first fifth is not timed.
    assert.ok(figures.requests < sent && figures.requests > sent * 0.6, JSON.stringify(figures));
    assert.equal(figures.failed, 0);
    const { p50Ms, p99Ms, p999Ms, maxMs, lagP99Ms, cpuShare } = figures;
    assert.ok(0 < p50Ms && p50Ms <= p99Ms && p99Ms <= p999Ms && p999Ms <= maxMs, JSON.stringify(figures));
    assert.ok(lagP99Ms > 0 && cpuShare > 0 && cpuShare < 1, JSON.stringify(figures));
    await openLoop.run({ ...WORK, port });
    assert.equal(seen.requests, 2 * (CONNECTIONS + sent));
  });

  test('the latency of delayed requests counts from their scheduled time', async (t) => {
    const stallMs = 400;
    let stalled = false;
    const { port } = await startServer(t, (count) => {
      if (!stalled && count > CONNECTIONS + 1_500) {
        stalled = true;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, stallMs);
      }
      return OK;
    });
    const figures = await openLoop.run({ ...WORK, ratePerSec: 3_000, durationSec: 1, port });
    const text = JSON.stringify(figures);
    assert.equal(figures.failed, 0, text);
    assert.ok(figures.maxMs > stallMs * 0.9, text);
    // 1,200 of 2,400 arrived meanwhile, evenly, so a tenth of all waited longer than about 360 ms, most in the queue.
    assert.ok(figures.backlogMax > 500, text);
    assert.ok(figures.p99Ms > stallMs * 0.75, text);
  });

  test('the open-loop generator counts failures, reopens connections, and waits for late answers only briefly', async (t) => {
    let refused = 0;
    let cut = 0;
    let unanswered = 0;
    const { port, seen } = await startServer(t, (count, socket) => {
      if (count <= CONNECTIONS) return OK;
      if (count % 10 === 0) {
        refused += 1;
        return REFUSAL;
      }
      if (count % 10 === 5) {
        cut += 1;
        socket.destroy();
        return [];
      }
      if (count % 100 === 8) {
        unanswered += 1;
        return [];
      }
      return count % 10 === 7 ? GOODBYE : OK;
    });
    const figures = await openLoop.run({ ...WORK, port });
    assert.ok(refused > 10 && cut > 10 && unanswered > 1 && seen.requests > CONNECTIONS + 200);
    // A reopened connection gets no request before an arrival needs it.
    assert.equal(figures.failed, refused + cut + unanswered);
    assert.ok(figures.reopened > refused + cut, JSON.stringify(figures));
    assert.throws(() => checked(figures), /requests failed/);
  });

  test('the open-loop generator fails if nobody listens on the port, or the server accepts no connection', async (t) => {
    const { port } = await startServer(t, () => REFUSAL);
    await assert.rejects(openLoop.run({ ...WORK, port }), /no good first answer/);
    await assert.rejects(openLoop.run({ ...WORK, port: 1 }), /connect: Connection refused/);
  });
}
