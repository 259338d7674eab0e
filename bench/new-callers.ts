/**
 * How much memory of a worker a flood of new callers takes. It prints figures and judges nothing.
 *
 *   node bench/new-callers.ts [CALLERS; 1000000]
 *
 * A whole Sluice of one worker runs with a Redis of its own. The callers share a few pipelined
 * connections and send one request each. The growth of resident memory counts from one second after the first request.
 */
import { connect } from 'node:net';
import { startBackend } from '../test/support/backend.ts';
import { clientAddress } from '../test/support/client-address.ts';
import { startRedis } from '../test/support/redis.ts';
import { startSluice } from '../test/support/sluice.ts';
import { rssBytes } from './rig/cpu.ts';

const CONNECTIONS = 16;
const IN_FLIGHT = 8;
const SAMPLE_MS = 1_000;
const STATUS_LINE = 'HTTP/1.1 200';

const residentMib = (pid: number): number => Math.round(rssBytes([pid]) / 2 ** 20);

/** Sends one request for each caller and resolves when all are answered; `progress.answered` counts the answers so far. */
async function ask(url: string, callers: number, progress: { answered: number }): Promise<void> {
  let next = 0;
  const port = Number(new URL(url).port);
  const run = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      let waiting = 0;
      let rest = '';
      const send = (): void => {
        let text = '';
        for (; waiting < IN_FLIGHT && next < callers; waiting++) {
          text += `GET / HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: ${clientAddress(next++)}\r\n\r\n`;
        }
        if (text !== '') socket.write(text);
        else if (waiting === 0) socket.end();
      };
      socket.setEncoding('latin1');
      socket.on('connect', send);
      socket.on('data', (chunk: string) => {
        const parts = (rest + chunk).split(STATUS_LINE);
        const answers = parts.length - 1;
        rest = (parts.at(-1) ?? '').slice(-STATUS_LINE.length + 1);
        waiting -= answers;
        progress.answered += answers;
        send();
      });
      socket.on('error', reject);
      socket.on('close', () => resolve());
    });
  await Promise.all(Array.from({ length: CONNECTIONS }, run));
}

async function main(): Promise<void> {
  const callers = Number(process.argv[2] ?? 1_000_000);
  const redis = await startRedis();
  const backend = await startBackend((_request, response) => response.end('ok'));
  const sluice = await startSluice({
    config: {
      workers: 1,
      trustedProxies: ['127.0.0.1'],
      log: { access: { enabled: false } },
      redis: { url: redis.url },
      rateLimit: { policies: { default: { capacity: 100, refillPerSecond: 50 } } },
      pools: { app: { backends: [{ url: backend.url }] } },
    },
  });
  try {
    const [pid] = sluice.workerPids();
    if (pid === undefined) throw new Error('there is no worker');
    const samples = [residentMib(pid)];
    const progress = { answered: 0 };
    const startMs = performance.now();
    const timer = setInterval(() => samples.push(residentMib(pid)), SAMPLE_MS);
    await ask(sluice.proxyUrl, callers, progress);
    clearInterval(timer);
    const [atRest = 0, afterSecond = 0, ...later] = samples;
    const highest = Math.max(afterSecond, ...later);
    const perSec = Math.round(progress.answered / ((performance.now() - startMs) / 1000));
    const growth = highest - afterSecond;
    console.log(
      JSON.stringify({ callers, answered: progress.answered, perSec, atRest, afterSecond, highest, growth }),
    );
  } finally {
    await sluice.stop();
    await backend.close();
    await redis.stop();
  }
}

await main();
