/** The balancers of the bench speak TLS, HTTP/2, gRPC and WebSocket as its scenarios need them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { caddy } from '../../bench/peers/caddy.ts';
import { haproxy } from '../../bench/peers/haproxy.ts';
import { nginx } from '../../bench/peers/nginx.ts';
import type { Peer, PeerOptions } from '../../bench/peers/peer.ts';
import { sluice } from '../../bench/peers/sluice.ts';
import { startBackends } from '../../bench/rig/backend.ts';
import { compilerMissing } from '../../bench/rig/compile.ts';
import { GRPC_MESSAGE, GRPC_PATH } from '../../bench/rig/grpc.ts';
import { problemOf, type Work } from '../../bench/rig/load.ts';
import { loadMissing, runLoad } from '../../bench/rig/run-load.ts';
import { startWebSocketEcho } from '../../bench/rig/web-socket-echo.ts';
import { makeTempFolder, removeTempFolder } from '../support/temp-folder.ts';
import { within } from '../support/wait.ts';

const PEERS = [sluice, nginx, haproxy, caddy].filter((peer) => peer.missing() === '');

async function start(t: TestContext, peer: Peer, options: Partial<PeerOptions>): Promise<number> {
  const folder = makeTempFolder('sluice-bench-');
  const off = { workers: 1, accessLog: false, redisPort: null, tls: true, grpc: false };
  const server = await peer.start(folder, { backendPorts: [], ...off, ...options });
  t.after(async () => {
    await server.stop();
    removeTempFolder(folder);
  });
  return server.port;
}

/** One request by HTTP/2: the status, the body and the trailers. */
async function askHttp2(port: number, fields: Record<string, string>, body: Buffer | null) {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  try {
    const stream = session.request(fields, { endStream: body === null });
    if (body !== null) stream.end(body);
    const answer = { status: 0, body: Buffer.alloc(0), trailers: {} as Record<string, unknown> };
    stream.on('response', (head) => {
      answer.status = Number(head[':status']);
    });
    stream.on('trailers', (trailers) => {
      answer.trailers = trailers;
    });
    stream.on('data', (chunk: Buffer) => {
      answer.body = Buffer.concat([answer.body, chunk]);
    });
    await within(once(stream, 'end'), 10_000, 'an answer by HTTP/2');
    return answer;
  } finally {
    session.destroy();
  }
}

async function assertGood(port: number, work: Work): Promise<void> {
  if (loadMissing(work) !== '') return;
  const figures = await runLoad(port, work, 1);
  assert.equal(problemOf(figures), '', JSON.stringify(work));
}

for (const peer of PEERS) {
  test(`${peer.name} ends TLS for HTTP/1.1, HTTP/2 and handshakes, all loads get good answers`, async (t) => {
    const backends = await startBackends();
    t.after(() => backends.stop());
    const port = await start(t, peer, { backendPorts: backends.ports });
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    await within(once(socket, 'secureConnect'), 10_000, 'a handshake');
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    socket.destroy();
    const fields = { ':path': '/tiny', ':authority': 'bench' };
    const { status, body } = await askHttp2(port, fields, null);
    assert.deepEqual([status, String(body)], [200, 'nineteen bytes here']);
    await assertGood(port, { path: '/tiny', connections: 2, tls: true });
    await assertGood(port, { path: '/tiny', connections: 2, tls: true, reconnecting: true });
    await assertGood(port, { path: '/tiny', connections: 2, streams: 4 });
  });

  test(`${peer.name} passes a unary gRPC call on, with its trailers`, async (t) => {
    if (nginx.missing() !== '') return;
    const backends = await startBackends();
    t.after(() => backends.stop());
    const port = await start(t, peer, { backendPorts: backends.ports, grpc: true });
    const fields = { ':method': 'POST', ':path': GRPC_PATH, ':authority': 'bench' };
    const grpc = { ...fields, 'content-type': 'application/grpc', te: 'trailers' };
    const { status, body, trailers } = await askHttp2(port, grpc, GRPC_MESSAGE);
    assert.deepEqual([status, body], [200, GRPC_MESSAGE]);
    assert.equal(trailers['grpc-status'], '0');
    await assertGood(port, { path: GRPC_PATH, connections: 2, streams: 4, grpc: true });
  });

  test(`${peer.name} passes WebSocket messages on`, async (t) => {
    if (compilerMissing() !== '') return;
    const echo = await startWebSocketEcho();
    t.after(() => echo.stop());
    const port = await start(t, peer, { backendPorts: [echo.port], tls: false });
    const figures = await echo.load(port, 4, 1);
    assert.equal(problemOf(figures), '');
  });
}

test('failed gRPC calls and unanswered messages are no good answers', async (t) => {
  if (nginx.missing() !== '') return;
  const backends = await startBackends();
  t.after(() => backends.stop());
  const port = await start(t, nginx, { backendPorts: backends.ports, grpc: true });
  const work = { path: '/tiny', connections: 1, streams: 2, grpc: true };
  if (loadMissing(work) === '') assert.match(problemOf(await runLoad(port, work, 1)), /good/);
  if (compilerMissing() !== '') return;
  const echo = await startWebSocketEcho();
  t.after(() => echo.stop());
  assert.match(problemOf(await echo.load(backends.ports[0]!, 4, 1)), /no answer at all/);
});
