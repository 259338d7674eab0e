/** Bodies of many streams at a time through a whole proxy, read and sent with pauses, some aborted: no stream gets a byte of another. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type ClientHttp2Session, connect, createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { Random } from '../../fuzz/random.ts';
import { BodyCheck, bodyOf } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { pool, startProxy } from '../support.ts';

const SIZES = [0, 1, 1_023, 1_024, 5_000, 16_384, 65_536, 300_000, 900_000];
const REQUESTS = Number(process.env.FUZZ_COUNT ?? 300);
const AT_A_TIME = 30;

/** Reads a body with pauses. @returns what was wrong with it; '': nothing */
async function readAll(random: Random, body: Readable, wanted: Buffer): Promise<string> {
  const check = new BodyCheck(wanted);
  body.on('data', (piece: Buffer) => {
    check.take(piece);
    if (!random.oneIn(6)) return;
    body.pause();
    setTimeout(() => body.resume(), random.below(15));
  });
  await once(body, 'end');
  return check.problem || (check.whole ? '' : `${check.bytes} of ${wanted.length} bytes`);
}

/** Sends a body in pieces, with pauses, and ends it when the promise has settled. */
function sendAll(
  random: Random,
  to: Writable,
  body: Buffer,
  before: Promise<unknown> = Promise.resolve(),
): void {
  let at = 0;
  const go = (): void => {
    while (at < body.length && !to.destroyed && !to.writableEnded) {
      const piece = body.subarray(at, at + 1 + random.below(40_000));
      at += piece.length;
      const isFull = !to.write(piece);
      if (random.oneIn(10)) return void setTimeout(go, random.below(10));
      if (isFull) return void to.once('drain', go);
    }
    void before.then(() => to.end());
  };
  go();
}

/** A backend takes the body that its path names, and answers with another one. */
async function answer(random: Random, request: IncomingMessage, response: ServerResponse): Promise<void> {
  for (const each of [request, response]) each.on('error', () => undefined);
  const [, taken, given, id] = (request.url ?? '').split('/').map(Number) as [number, number, number, number];
  const whatWasWrong = readAll(random, request, bodyOf(2 * id, taken)).catch(() => 'aborted');
  // Some answers begin before the request has ended.
  if (random.oneIn(2)) response.setHeader('x-wrong', await whatWasWrong);
  // A client whose answer is whole would be told to stop.
  sendAll(random, response, bodyOf(2 * id + 1, given), whatWasWrong);
  const wrong = await whatWasWrong;
  if (wrong !== '' && wrong !== 'aborted') response.destroy();
}

async function startBackend(t: TestContext, isHttp2: boolean, random: Random): Promise<number> {
  const listener = (request: unknown, response: unknown): void =>
    void answer(random, request as IncomingMessage, response as ServerResponse);
  const server = isHttp2 ? createHttp2Server({}, listener) : createServer(listener);
  server.on('sessionError', () => undefined);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** Makes one request, and checks its answer; some are aborted. @returns the outcome */
async function exchange(random: Random, client: ClientHttp2Session, id: number): Promise<string> {
  const [taken, given] = [random.pick(SIZES), random.pick(SIZES)];
  const stream = client.request({ ':method': 'POST', ':path': `/${taken}/${given}/${id}` });
  stream.on('error', () => undefined);
  let wrong: unknown = '';
  stream.on(
    'response',
    (head) => (wrong = head[':status'] === 200 ? (head['x-wrong'] ?? '') : `status ${head[':status']}`),
  );
  const wanted = bodyOf(2 * id + 1, given);
  const isAborted = random.oneIn(6);
  if (isAborted) setTimeout(() => stream.close(8), random.below(60));
  sendAll(random, stream, bodyOf(2 * id, taken));
  // The last bytes are read first.
  const closed = new Promise<string>((resolve) =>
    stream.once('close', () => setImmediate(resolve, `reset by ${stream.rstCode}`)),
  );
  const problem = await Promise.race([readAll(random, stream, wanted).catch(() => closed), closed]);
  return isAborted && !problem.includes('wrong') ? 'aborted' : `${problem}${wrong}`;
}

for (const isHttp2 of [true, false])
  test(`streams that pause and abort at random get their own bytes; backend speaks HTTP/${isHttp2 ? 2 : 1}`, async (t) => {
    const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000);
    const random = new Random(seed);
    const port = await startBackend(t, isHttp2, random);
    const app = pool('app', [port], isHttp2 ? { protocol: 'h2' } : {});
    const proxy = await startProxy(t, { pools: [app], h2c: true });
    const clients = [1_000, 65_535, 4_000_000].map((initialWindowSize) =>
      connect(proxy.url, { settings: { initialWindowSize } }),
    );
    t.after(() => {
      for (const client of clients) client.destroy();
    });
    const outcomes = new Map<string, number>();
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < REQUESTS) {
        const id = next++;
        const outcome = await exchange(random, random.pick(clients), id % 100);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, lane));
    const shown = `FUZZ_SEED=${seed} ${JSON.stringify([...outcomes])}`;
    assert.deepEqual(new Set(outcomes.keys()), new Set(['', 'aborted']), shown);
    await waitFor('a line for each request', () => proxy.lines.length === REQUESTS);
  });
