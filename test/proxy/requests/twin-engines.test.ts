/**
 * Sends the same bytes through both engines, our own and node:http. Clients, backends and the access log must get the same
 * from both, also when a pipeline ends in a malformed request.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Engine } from '../../../src/worker/inbound/server.ts';
import { Random, seedOf } from '../../fuzz/random.ts';
import type { RawClient, RawResponse } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import {
  type CapturedRequest,
  type CapturingBackend,
  ok,
  startCapturingBackend,
} from '../capturing-backend.ts';
import { engineOf, startProxy, type TestProxy } from '../support.ts';

const PIPELINES = 60;
const MOST_REQUESTS = 5;
/** Several reads long. */
const LARGE_BYTES = 200_000;
/** Too large for an answer in one piece. */
const STREAMED_BYTES = 70_000;
/** Fields that differ between proxies or requests; not compared. */
const OWN_FIELDS: ReadonlySet<string> = new Set(['date', 'x-request-id', 'traceparent', 'host']);

const EVIL = 'GET /evil HTTP/1.1\r\nHost: a\r\n\r\n';
const CHUNKED = 'Transfer-Encoding: chunked';

/** Requests that are refused and end the connection; nothing behind them may be served. */
const HOSTILE: readonly (readonly [fields: string, body: string])[] = [
  [`Content-Length: 5\r\n${CHUNKED}`, `0\r\n\r\n${EVIL}`],
  [`${CHUNKED}\r\nContent-Length: ${EVIL.length}`, EVIL],
  ['Content-Length: 5\r\nContent-Length: 5', 'hello'],
  ['Content-Length: 5\r\nContent-Length: 0', EVIL],
  ['Content-Length: +5', 'hello'],
  ['Content-Length : 5', 'hello'],
  ['Content-Length:\r\n 5', 'hello'],
  ['X: y\r\n Content-Length: 5', 'hello'],
  ['X: y\nContent-Length: 5', EVIL],
  ['Transfer-Encoding: xchunked', `0\r\n\r\n${EVIL}`],
  ['Transfer-Encoding : chunked', `0\r\n\r\n${EVIL}`],
  ['Transfer-Encoding: chunked, identity', `0\r\n\r\n${EVIL}`],
  [CHUNKED, `FFFFFFFFFFFFFFFFF\r\n${EVIL}`],
  [CHUNKED, `-3\r\nabc\r\n0\r\n\r\n${EVIL}`],
  [CHUNKED, `3\nabc\r\n0\r\n\r\n${EVIL}`],
  [CHUNKED, `3;a\n${EVIL}\r\nabc\r\n0\r\n\r\n`],
  [CHUNKED, `3\r\nabcXX${EVIL}`],
  [CHUNKED, `3\r\nabc\r\n0\r\nX Y: 1\r\n\r\n${EVIL}`],
  ['X\0: 1', EVIL],
];

interface Message {
  method: string;
  bytes: string;
}

interface Pipeline {
  messages: Message[];
  /** The proxy ends the connection with the last answer. */
  closing: boolean;
}

const LARGE = Array.from({ length: LARGE_BYTES }, (_, i) => String.fromCharCode((i * 31) % 251)).join('');

function answer({ method, target, body }: CapturedRequest): string {
  const text = `${method} ${target} ${body.length}`;
  const padded = text.padEnd(STREAMED_BYTES, '\xe9');
  if (target.includes('none')) return 'HTTP/1.1 204 None\r\n\r\n';
  if (method === 'HEAD') return `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n`;
  if (target.includes('stream')) return ok(padded);
  if (!target.includes('chunks')) return ok(text);
  const chunk = `${padded.length.toString(16)}\r\n${padded}\r\n`;
  return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}0\r\n\r\n`;
}

function messageOf(random: Random, target: string): Message {
  const method = random.pick(['GET', 'GET', 'HEAD', 'DELETE', 'POST', 'POST', 'PUT']);
  const head = `${method} ${target} HTTP/1.1\r\nHost: a\r\nX-Cafe: \xe9\r\n`;
  if (method !== 'POST' && method !== 'PUT') return { method, bytes: `${head}\r\n` };
  const body = LARGE.slice(0, random.pick([0, 1, 2_000, 131_072, 131_073, LARGE_BYTES]));
  if (random.oneIn(3) && body !== '') {
    const chunk = `${body.length.toString(16)};x=y\r\n${body}\r\n`;
    return { method, bytes: `${head}${CHUNKED}\r\n\r\n${chunk}0\r\n\r\n` };
  }
  return { method, bytes: `${head}Content-Length: ${body.length}\r\n\r\n${body}` };
}

function pipelineOf(random: Random, index: number): Pipeline {
  const messages = Array.from({ length: 1 + random.below(MOST_REQUESTS) }, (_, i) =>
    messageOf(random, `/${random.pick(['plain', 'stream', 'chunks', 'none'])}/${index}/${i}`),
  );
  const end = random.pick(['open', 'close', 'refused', 'refused', 'refused']);
  if (end === 'close')
    messages.push({
      method: 'GET',
      bytes: `GET /last/${index} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    });
  if (end === 'refused') {
    const [fields, body] = random.pick(HOSTILE);
    const head = `POST /refused HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n`;
    messages.push({ method: 'POST', bytes: `${head}${body}${EVIL}` });
  }
  return { messages, closing: end !== 'open' };
}

async function send(client: RawClient, bytes: Buffer, random: Random): Promise<void> {
  const most = random.pick([20, 5_000, 100_000, bytes.length]);
  for (let at = 0; at < bytes.length && !client.closed; ) {
    // Small pieces of a large body would take too long.
    const piece = bytes.subarray(at, at + 1 + random.below(Math.max(most, bytes.length / 40)));
    at += piece.length;
    if (!client.socket.write(piece))
      await Promise.race([once(client.socket, 'drain'), once(client.socket, 'close')]);
    if (random.oneIn(8)) await pause(random.below(3));
  }
}

function fieldsOf(headers: readonly [string, string][]): string[] {
  return headers
    .filter(([name]) => !OWN_FIELDS.has(name.toLowerCase()))
    .map((pair) => pair.join(': '))
    .sort();
}

function told({ status, reason, headers, body, trailers }: RawResponse) {
  // The body of a problem contains the request id, so only its length is compared.
  const text = status >= 400 ? body.length : body.toString('latin1');
  return { status, reason, fields: fieldsOf(headers), text, trailers };
}

/** Sends a pipeline and returns the answers. */
async function heard(proxy: TestProxy, { messages, closing }: Pipeline, random: Random) {
  const client = await proxy.connect();
  const sent = send(client, Buffer.from(messages.map(({ bytes }) => bytes).join(''), 'latin1'), random);
  const answers = [];
  for (const { method } of messages) answers.push(told(await client.readResponse({ method })));
  const behind = closing ? await client.waitForClose() : client.received;
  await sent;
  client.close();
  assert.equal(behind.toString('latin1'), '', 'bytes came behind the last answer');
  return answers;
}

/** The requests that reached the backend and the access lines, both sorted by target. */
function passed(proxy: TestProxy, backend: CapturingBackend) {
  const requests = backend.requests.map(({ method, target, headers, body }) => ({
    method,
    target,
    fields: fieldsOf(headers),
    body: createHash('sha256').update(body, 'latin1').digest('hex'),
  }));
  const lines = proxy.lines
    .filter(({ path }) => path !== null && path !== '/refused')
    .map(({ method, path, status, reason, bytesIn, bytesOut }) => ({
      method,
      path,
      status,
      reason,
      bytesIn,
      bytesOut,
    }));
  return {
    requests: requests.sort((a, b) => a.target.localeCompare(b.target)),
    lines: lines.sort((a, b) => String(a.path).localeCompare(String(b.path))),
  };
}

async function runAll(t: TestContext, engine: Engine, seed: number) {
  const backend = await startCapturingBackend(t, answer);
  const proxy = await startProxy(t, { backends: [backend], engine });
  const answers = [];
  for (let i = 0; i < PIPELINES; i++) {
    const pipeline = pipelineOf(new Random(seedOf(seed, i)), i);
    answers.push(await heard(proxy, pipeline, new Random(seedOf(seed, PIPELINES + i))));
  }
  await waitFor('all requests to end', () => proxy.handler.traffic.inFlight === 0);
  assert.ok(
    !backend.received.some((text) => text.includes('/evil')),
    'a request hidden in a body was served',
  );
  assert.ok(
    !backend.requests.some(({ method }) => method === '?'),
    'the backend got something that is no request',
  );
  return { answers, ...passed(proxy, backend) };
}

test('both engines answer random pipelines alike, and serve nothing behind a refused request', async (t) => {
  const seed = Number(process.env.TWIN_SEED ?? Date.now() & 0x7fffffff);
  t.diagnostic(`TWIN_SEED=${seed}`);
  const own = await runAll(t, engineOf('wire'), seed);
  const node = await runAll(t, engineOf('node'), seed);
  for (const [i, answers] of node.answers.entries())
    assert.deepEqual(own.answers[i], answers, `pipeline ${i} of seed ${seed}`);
  assert.deepEqual(own.requests, node.requests, `seed ${seed}`);
  assert.deepEqual(own.lines, node.lines, `seed ${seed}`);
});
