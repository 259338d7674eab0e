/**
 * A closed loop of clients: each opens a connection, sends one request with `Connection: close`, and reads to the end.
 * autocannon cannot do it: it does not count the answers after which it reconnects, and it sends another request on
 * connections that are about to close.
 */
import { connect } from 'node:net';
import type { LoadFigures } from './load.ts';
import { percentile } from './stats.ts';

export interface ReconnectingJob {
  port: number;
  path: string;
  connections: number;
  durationSec: number;
  /** Total number of requests; 0: the duration counts instead. */
  amount: number;
}

const TIMEOUT_MS = 5_000;

/** reconnectingLoad runs the load in this process and resolves after the last answer. */
export async function reconnectingLoad(job: ReconnectingJob): Promise<LoadFigures> {
  const latencies: number[] = [];
  const bad = { badStatus: 0, errors: 0, timeouts: 0 };
  const startMs = performance.now();
  const endMs = startMs + job.durationSec * 1_000;
  let left = job.amount > 0 ? job.amount : Number.POSITIVE_INFINITY;
  const client = async () => {
    while (left > 0 && (job.amount > 0 || performance.now() < endMs)) {
      left -= 1;
      const askedMs = performance.now();
      const outcome = await askOnce(job);
      if (outcome === 'good' || outcome === 'badStatus') latencies.push(performance.now() - askedMs);
      if (outcome !== 'good') bad[outcome] += 1;
    }
  };
  await Promise.all(Array.from({ length: job.connections }, client));
  return {
    requests: latencies.length,
    ...bad,
    durationSec: (performance.now() - startMs) / 1_000,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    p999Ms: percentile(latencies, 0.999),
    maxMs: percentile(latencies, 1),
  };
}

function askOnce({ port, path }: ReconnectingJob): Promise<'good' | keyof BadCounts> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect({ port, host: '127.0.0.1' }, () => {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n`);
    });
    socket.setEncoding('latin1');
    socket.setTimeout(TIMEOUT_MS, () => {
      resolve('timeouts');
      socket.destroy();
    });
    socket.on('data', (part: string) => {
      text += part;
    });
    socket.on('error', () => resolve('errors'));
    socket.on('close', () => resolve(outcomeOf(text)));
  });
}

function outcomeOf(text: string): 'good' | keyof BadCounts {
  const headEnd = text.indexOf('\r\n\r\n');
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? -1);
  if (headEnd < 0 || text.length !== headEnd + 4 + length) return 'errors';
  return /^HTTP\/1\.1 2\d\d /.test(text) ? 'good' : 'badStatus';
}

type BadCounts = Pick<LoadFigures, 'badStatus' | 'errors' | 'timeouts'>;
