/**
 * Input that is expensive for a quadratic parser: long runs of one text at every place of a message, from clients and from
 * backends. Limits are so high that all of it is read. No run may block the event loop.
 */
import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ApiKeyLookup } from '../../../src/contract/clients.ts';
import { LoopDelayMonitor } from '../../../src/infra/loop-delay.ts';
import { connectRaw } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { type ProxyOptions, startProxy, type TestProxy } from '../support.ts';

const RUN_BYTES = 65_536;
const ALL_AWKWARD = [
  ' ',
  '\t',
  ',',
  '"',
  ';',
  '%',
  '1',
  '\r',
  '\n',
  '\r\n',
  ':',
  '/',
  '.',
  '=',
  '\\',
  '%2f',
  '/.',
  '/..',
  '1,',
  ', ',
];
/** Other data paths share most of this code, so there the three runs that once were quadratic are enough. */
const isOtherPath = (process.env.SLUICE_ENGINE ?? process.env.SLUICE_WIRE) !== undefined;
const AWKWARD = isOtherPath ? [' ', '/', '\r\n'] : ALL_AWKWARD;
/** A quadratic step takes hundreds of milliseconds for 64 KiB. */
const TURN_MAX_MS = 20;
/** The shortest of several tries counts, because the machine is shared. */
const TRIES = 6;
const PIECE_BYTES = 4_096;

type Place = [name: string, text: (run: string) => string];

const HEAD = 'GET / HTTP/1.1\r\nHost: a\r\n';
const CHUNKED = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';

/** Places that requests and answers share: field lines and chunked bodies. */
function sharedPlaces(head: string, chunked: string, names: readonly string[]): Place[] {
  return [
    ['before a name', (run) => `${head}${run}X: y\r\n\r\n`],
    ['inside a name', (run) => `${head}X${run}X: y\r\n\r\n`],
    ['after a name', (run) => `${head}X${run}: y\r\n\r\n`],
    ...['X', ...names].flatMap((name): Place[] => [
      [`before the value of ${name}`, (run) => `${head}${name}: ${run}a\r\n\r\n`],
      [`inside the value of ${name}`, (run) => `${head}${name}: a${run}b\r\n\r\n`],
      [`after the value of ${name}`, (run) => `${head}${name}: a${run}\r\n\r\n`],
    ]),
    ['before a chunk size', (run) => `${chunked}${run}1\r\na\r\n0\r\n\r\n`],
    ['after a chunk size', (run) => `${chunked}1${run}\r\na\r\n0\r\n\r\n`],
    ['as a chunk extension', (run) => `${chunked}1;${run}\r\na\r\n0\r\n\r\n`],
    ['as a value of a chunk extension', (run) => `${chunked}1;a=${run}\r\na\r\n0\r\n\r\n`],
    ['quoted in a chunk extension', (run) => `${chunked}1;a="${run}"\r\na\r\n0\r\n\r\n`],
    ['after a chunk', (run) => `${chunked}1\r\na${run}\r\n0\r\n\r\n`],
    ['as a body', (run) => `${chunked}${run.length.toString(16)}\r\n${run}\r\n0\r\n\r\n`],
    ['before a trailer', (run) => `${chunked}0\r\n${run}X: y\r\n\r\n`],
    ['inside a trailer name', (run) => `${chunked}0\r\nX${run}X: y\r\n\r\n`],
    ['inside a trailer', (run) => `${chunked}0\r\nX: a${run}b\r\n\r\n`],
    ['after a trailer', (run) => `${chunked}0\r\nX: a${run}\r\n\r\n`],
  ];
}

const REQUEST_PLACES: Place[] = [
  ['before the method', (run) => `${run}${HEAD}\r\n`],
  ['in the method', (run) => `GET${run}T / HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['before the target', (run) => `GET ${run}/ HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['in the path', (run) => `GET /a${run}b HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['in the query', (run) => `GET /?a${run}b HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['in an authority', (run) => `GET http://a${run}b/ HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['after the version', (run) => `GET / HTTP/1.1${run}\r\nHost: a\r\n\r\n`],
  ['as a valid Host', (run) => `GET / HTTP/1.1\r\nHost: ${run}\r\n\r\n`],
  ['in brackets of X-Forwarded-For', (run) => `${HEAD}X-Forwarded-For: [${run}]\r\n\r\n`],
  ['after TE: trailers', (run) => `${HEAD}TE: trailers${run}x\r\n\r\n`],
  ['after the request', (run) => `${HEAD}\r\n${run}`],
  ...sharedPlaces(HEAD, CHUNKED, [
    'Host',
    'Connection',
    'Proxy-Connection',
    'Cookie',
    'Authorization',
    'X-Api-Key',
    'X-Forwarded-For',
    'X-Forwarded-Host',
    'Forwarded',
    'Expect',
    'Content-Length',
    'Transfer-Encoding',
    'Traceparent',
    'Tracestate',
    'X-Request-Id',
    'User-Agent',
  ]),
];

const ANSWER = 'HTTP/1.1 200 OK\r\n';
const CHUNKED_ANSWER = `${ANSWER}Transfer-Encoding: chunked\r\n\r\n`;

const ANSWER_PLACES: Place[] = [
  ['before the version', (run) => `${run}${ANSWER}\r\n`],
  ['in the version', (run) => `HTTP/1.${run}1 200 OK\r\n\r\n`],
  ['before the status', (run) => `HTTP/1.1 ${run}200 OK\r\n\r\n`],
  ['in the reason', (run) => `HTTP/1.1 200 a${run}b\r\n\r\n`],
  ['in an interim answer', (run) => `HTTP/1.1 103 a\r\nLink: a${run}b\r\n\r\n${ANSWER}\r\n`],
  ['after timeout of Keep-Alive', (run) => `${ANSWER}Keep-Alive: timeout${run}=1\r\n\r\n`],
  ['as timeouts of Keep-Alive', (run) => `${ANSWER}Keep-Alive: ${run.replaceAll('1', 'timeout ')}\r\n\r\n`],
  ...sharedPlaces(ANSWER, CHUNKED_ANSWER, [
    'Connection',
    'Keep-Alive',
    'Content-Length',
    'Transfer-Encoding',
    'Date',
    'X-Request-Id',
    'X-RateLimit-Limit',
    'Set-Cookie',
  ]),
];

/** Limits above the size of a run, so that the proxy reads all of it. */
const HIGH: ProxyOptions = {
  limits: { targetBytes: 200_000, headerBytes: 400_000, headerCount: 2_000 },
  trustedProxies: ['127.0.0.1'],
  apiKeyHeader: 'x-api-key',
  apiKeys: { verify: () => 'unknown', byName: () => null } satisfies ApiKeyLookup,
  poolTimeouts: { responseMs: 1_000 },
};

/** Sends a text in pieces, each of which is read by itself. */
async function send(socket: Socket, text: string, pieceBytes: number): Promise<void> {
  const bytes = Buffer.from(text, 'latin1');
  for (let at = 0; at < bytes.length && socket.writable; at += pieceBytes) {
    socket.write(bytes.subarray(at, at + pieceBytes));
    await nextTurn();
  }
}

/**
 * Runs `play` up to TRIES times and fails when every try had a turn of the event loop above TURN_MAX_MS. On a busy machine
 * the loop may be late without working, so a try also passes when its whole CPU time is below TURN_MAX_MS.
 */
async function assertShortTurns(
  delays: LoopDelayMonitor,
  where: string,
  play: () => Promise<void>,
): Promise<void> {
  let shortestMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TRIES && shortestMs > TURN_MAX_MS; i++) {
    delays.takeMaxMs();
    const before = process.cpuUsage();
    await play();
    const { user, system } = process.cpuUsage(before);
    shortestMs = Math.min(shortestMs, delays.takeMaxMs(), (user + system) / 1000);
  }
  assert.ok(shortestMs <= TURN_MAX_MS, `${where}: the event loop was blocked for ${shortestMs} ms`);
}

/** A backend that sends `answer`, in pieces of `pieceBytes`, and ends the connection. */
async function startHostileBackend(
  t: TestContext,
): Promise<{ port: number; answer: string; pieceBytes: number }> {
  const backend = { port: 0, answer: `${ANSWER}Content-Length: 0\r\n\r\n`, pieceBytes: RUN_BYTES * 4 };
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => {
      void send(socket, backend.answer, backend.pieceBytes).then(() => socket.end());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const address = server.address();
  backend.port = typeof address === 'object' && address !== null ? address.port : 0;
  return backend;
}

async function exchange(proxy: TestProxy, text: string, pieceBytes: number): Promise<void> {
  const client = await connectRaw(proxy.url);
  try {
    await send(client.socket, text, pieceBytes);
    client.end();
    await waitFor('the end of the connection', () => client.ended || client.closed, { everyMs: 1 });
  } finally {
    client.close();
  }
}

const WAYS: [name: string, pieceBytes: number][] = [
  ['as a whole', RUN_BYTES * 4],
  ['in pieces', PIECE_BYTES],
];

for (const [way, pieceBytes] of WAYS) {
  test(`no run of bytes in a request blocks the event loop, ${way}`, async (t) => {
    const backend = await startHostileBackend(t);
    const proxy = await startProxy(t, { ...HIGH, backends: [backend] });
    const delays = new LoopDelayMonitor();
    for (const [place, text] of REQUEST_PLACES) {
      for (const awkward of AWKWARD) {
        const request = text(awkward.repeat(RUN_BYTES / awkward.length));
        const where = `${JSON.stringify(awkward)} ${place}`;
        await assertShortTurns(delays, where, () => exchange(proxy, request, pieceBytes));
      }
    }
  });

  test(`no run of bytes in an answer blocks the event loop, ${way}`, async (t) => {
    const backend = await startHostileBackend(t);
    const proxy = await startProxy(t, { ...HIGH, backends: [backend] });
    const delays = new LoopDelayMonitor();
    backend.pieceBytes = pieceBytes;
    for (const [place, text] of ANSWER_PLACES) {
      for (const awkward of AWKWARD) {
        // 512 bytes less, for the rest of the head: heads of backends have a fixed limit.
        backend.answer = text(awkward.repeat((RUN_BYTES - 512) / awkward.length));
        await assertShortTurns(delays, `${JSON.stringify(awkward)} ${place}`, async () => {
          const client = await connectRaw(proxy.url);
          try {
            client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
            await waitFor('the answer', () => client.ended || client.closed, { everyMs: 1 });
          } finally {
            client.close();
          }
        });
      }
    }
  });
}
