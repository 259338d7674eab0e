/** A reload every second under tunnels and HTTP/2 streams: how many of them end although nobody ended them. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'node:tls';
import { waitFor, within } from '../../test/support/wait.ts';
import { listen } from '../../test_backs/server.ts';
import { OPENING_REQUEST, SWITCHING_ANSWER } from '../rig/opening-handshake.ts';
import type { ServerProcess } from '../rig/process.ts';
import { inTurns, type Matchup, type Round } from './matchup.ts';

const TUNNELS = 1_000;
const STREAMS = 64;
const RELOADS = 10;
const PERIOD_MS = 1_000;
const OPENING_MS = 10_000;
/** A message of four bytes; the client masks it with zeros. */
const PING = Buffer.from([0x82, 0x84, 0, 0, 0, 0, ...Buffer.from('ping')]);
const PONG = Buffer.from([0x82, 0x04, ...Buffer.from('ping')]);

/** Answers each message of a WebSocket. The answer to /drip lasts until endAnswers(). */
async function startBackend() {
  const dripping = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    if (request.url === '/drip') dripping.add(response.writeHead(200));
    else response.end('nineteen bytes here');
  });
  server.on('upgrade', (_, socket) => {
    let unansweredBytes = 0;
    socket.on('error', () => socket.destroy());
    socket.write(SWITCHING_ANSWER);
    socket.on('data', (chunk) => {
      unansweredBytes += chunk.length;
      for (; unansweredBytes >= PING.length; unansweredBytes -= PING.length) socket.write(PONG);
    });
  });
  const timer = setInterval(() => {
    for (const response of dripping) response.write('drip');
  }, PERIOD_MS / 4);
  const { port, close } = await listen(server);
  return {
    port,
    endAnswers() {
      for (const response of dripping) response.end();
    },
    async close() {
      clearInterval(timer);
      await close();
    },
  };
}

interface Tunnel {
  /** Bytes of answers that are still to come; below 0 there were too many. */
  expectedBytes: number;
  ended: boolean;
  ping(): void;
  close(): void;
}

async function openTunnel(port: number): Promise<Tunnel> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  const tunnel: Tunnel = {
    expectedBytes: 0,
    ended: false,
    ping() {
      tunnel.expectedBytes += PONG.length;
      socket.write(PING);
    },
    close: () => socket.destroy(),
  };
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    tunnel.ended = true;
  });
  socket.write(OPENING_REQUEST);
  const [answer] = await within(once(socket, 'data'), OPENING_MS, 'an answer to an opening handshake');
  if (!String(answer).startsWith('HTTP/1.1 101 '))
    throw new Error(`no tunnel: ${String(answer).slice(0, 64)}`);
  socket.on('data', (chunk: Buffer) => {
    tunnel.expectedBytes -= chunk.length;
  });
  return tunnel;
}

/** Streams of one connection; closed() counts those that have ended in any way. */
async function openStreams(port: number): Promise<{ closed(): number; close(): void }> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  let [answered, closed] = [0, 0];
  session.on('error', () => session.destroy());
  for (let count = 0; count < STREAMS; count += 1) {
    const stream = session.request({ ':path': '/drip' });
    stream.resume();
    stream.on('response', (fields) => {
      if (fields[':status'] === 200) answered += 1;
    });
    stream.on('error', () => stream.destroy());
    stream.on('close', () => {
      closed += 1;
    });
  }
  await waitFor(`${STREAMS} answers by HTTP/2`, () => answered === STREAMS, { timeoutMs: OPENING_MS });
  return { closed: () => closed, close: () => session.destroy() };
}

/** Each reload brings a further route, so that workers take up a new plan. */
async function reload(server: ServerProcess, count: number): Promise<void> {
  const path = join(server.folder, 'sluice.yaml');
  const text = readFileSync(path, 'utf8').replace('level: warn', 'level: info');
  const route = `{ name: extra${count}, match: { path: /extra${count} }, pool: app, rateLimit: off }`;
  writeFileSync(path, text.replace('routes:\n', `routes:\n  - ${route}\n`));
  const reloaded = () => server.output().split('"msg":"reloaded"').length - 1;
  const before = reloaded();
  server.signal('SIGHUP');
  await waitFor(`reload ${count} to be over`, () => reloaded() > before);
}

async function measureReloads(server: ServerProcess, endAnswers: () => void): Promise<Round> {
  const streams = await openStreams(server.port);
  const tunnels: Tunnel[] = [];
  try {
    for (let count = 0; count < TUNNELS; count += 1) tunnels.push(await openTunnel(server.port));
    for (let count = 1; count <= RELOADS; count += 1) {
      for (const tunnel of tunnels) tunnel.ping();
      await Promise.all([reload(server, count), pause(PERIOD_MS)]);
    }
    const lostStreams = streams.closed();
    endAnswers();
    await waitFor('all streams to end', () => streams.closed() === STREAMS);
    const lostTunnels = tunnels.filter(({ ended, expectedBytes }) => ended || expectedBytes !== 0).length;
    return { tunnels: TUNNELS, streams: STREAMS, reloads: RELOADS, dropped: lostTunnels + lostStreams };
  } finally {
    for (const tunnel of tunnels) tunnel.close();
    streams.close();
  }
}

export const reloads: Matchup = {
  name: 'reloads',
  title: 'A reload every second under open tunnels and streams',
  load: `${TUNNELS} WebSockets with a message a second each and ${STREAMS} unfinished HTTP/2 answers, over TLS; ${RELOADS} reloads, each with a further route`,
  contestants: [{ peer: 'sluice' }],
  async run(arena) {
    const backend = await startBackend();
    const contestant = { peer: 'sluice', options: { tls: true, backendPorts: [backend.port] } };
    try {
      return await inTurns(arena, [contestant], {
        rounds: 1,
        measure: (server) => measureReloads(server, backend.endAnswers),
      });
    } finally {
      await arena.release(contestant);
      await backend.close();
    }
  },
};
