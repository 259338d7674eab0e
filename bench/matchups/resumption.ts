/** How many TLS sessions are resumed while workers come and go and certificates change. */
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'node:tls';
import { waitFor, within } from '../../test/support/wait.ts';
import { makeCertificate } from '../rig/certificate.ts';
import type { ServerProcess } from '../rig/process.ts';
import { inTurns, type Matchup, type Round } from './matchup.ts';

const contestants = ['sluice', 'nginx'].map((peer) => ({ peer, options: { tls: true, workers: 2 } }));
const CLIENTS = 32;
/** Connections of each client, one after another, in each of the four parts. */
const EACH = 3;
const SETTLE_MS = 500;

interface Client {
  /** The newest ticket; undefined: none yet. */
  session: Buffer | undefined;
  resumed: number;
}

/** One connection with one request; it keeps the ticket for the next. */
function visit(port: number, client: Client): Promise<void> {
  const done = new Promise<void>((resolve, reject) => {
    const options = { host: '127.0.0.1', port, rejectUnauthorized: false, session: client.session };
    const socket = connect({ ...options, minVersion: 'TLSv1.3' }, () => {
      if (socket.isSessionReused()) client.resumed += 1;
      socket.write('GET /tiny HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n');
    });
    socket.on('session', (session) => {
      client.session = session;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve());
    socket.resume();
  });
  return within(done, 10_000, 'a connection with one request to end');
}

async function visitOften(port: number, clients: Client[]): Promise<void> {
  const each = async (client: Client) => {
    for (let count = 0; count < EACH; count += 1) await visit(port, client);
  };
  await Promise.all(clients.map(each));
}

async function replaceWorker(server: ServerProcess): Promise<void> {
  const before = server.workerPids();
  process.kill(before[0] ?? 0, 'SIGKILL');
  await waitFor('another worker to start', () => {
    const now = server.workerPids();
    return now.length === before.length && now.some((pid) => !before.includes(pid));
  });
  await pause(SETTLE_MS);
}

async function measureResumption(server: ServerProcess): Promise<Round> {
  const clients = Array.from({ length: CLIENTS }, () => ({ session: undefined, resumed: 0 }) as Client);
  for (const client of clients) await visit(server.port, client);
  await visitOften(server.port, clients);
  makeCertificate(server.folder);
  server.signal('SIGHUP');
  await pause(SETTLE_MS * 2);
  await visitOften(server.port, clients);
  for (const _ of [1, 2]) {
    await replaceWorker(server);
    await visitOften(server.port, clients);
  }
  const resumed = clients.reduce((sum, each) => sum + each.resumed, 0);
  const connections = CLIENTS * EACH * 4;
  return { notResumedPercent: (1 - resumed / connections) * 100, connections };
}

export const resumption: Matchup = {
  name: 'tls-resumption',
  title: 'TLS sessions resumed by two workers',
  load: `${CLIENTS} clients that come back ${EACH * 4} times each: before and after a reload with a new certificate, and after the death of each worker`,
  contestants,
  async run(arena) {
    const rows = await inTurns(arena, contestants, { rounds: 1, measure: measureResumption });
    for (const each of contestants) await arena.release(each);
    return rows;
  },
};
