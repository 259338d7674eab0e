/**
 * Runs autocannon (or the reconnecting load, which autocannon cannot do) in its own process. The job is a JSON argument;
 * the result is printed as a line of JSON (LoadFigures).
 *
 *   node bench/rig/autocannon-run.ts '{"port":8080,"work":{…},"durationSec":5,"amount":0,"clients":1}'
 */
import { createRequire } from 'node:module';
import { clientAddress } from '../../test/support/client-address.ts';
import type { LoadFigures, Work } from './load.ts';
import { reconnectingLoad } from './reconnecting-load.ts';

export interface AutocannonJob {
  port: number;
  work: Work;
  durationSec: number;
  /** Total number of requests; 0: the duration counts instead. */
  amount: number;
  /** Number of addresses for X-Forwarded-For. Each connection uses its own share of them in turn. 1: no such field. */
  clients: number;
}

interface Result {
  duration: number;
  errors: number;
  timeouts: number;
  non2xx: number;
  requests: { total: number };
  latency: { p50: number; p99: number; p99_9: number; max: number };
}

interface Client {
  setRequests(requests: { headers: Record<string, string> }[]): void;
}

/** autocannon comes without types. */
type Autocannon = (options: Record<string, unknown>) => Promise<Result>;

const autocannon: Autocannon = createRequire(import.meta.url)('autocannon');
const { port, work, durationSec, amount, clients } = JSON.parse(process.argv[2] ?? '{}') as AutocannonJob;
const { method = 'GET', path, bodyBytes = 0, connections, reconnecting = false } = work;

let clientCount = 0;

function giveAddresses(client: Client): void {
  const share = Math.ceil(clients / connections);
  const first = (clientCount * share) % clients;
  clientCount += 1;
  const requests = Array.from({ length: share }, (_, index) => ({
    headers: { 'X-Forwarded-For': clientAddress(first + index) },
  }));
  client.setRequests(requests);
}

async function autocannonLoad(): Promise<LoadFigures> {
  const result = await autocannon({
    url: `http://127.0.0.1:${port}${path}`,
    method,
    connections,
    timeout: 5,
    ...(amount > 0 ? { amount } : { duration: durationSec }),
    ...(bodyBytes > 0 ? { body: Buffer.alloc(bodyBytes, 'x') } : {}),
    ...(clients > 1 ? { setupClient: giveAddresses } : {}),
  });
  const { latency } = result;
  return {
    requests: result.requests.total,
    badStatus: result.non2xx,
    // autocannon counts timeouts among the errors.
    errors: result.errors - result.timeouts,
    timeouts: result.timeouts,
    durationSec: result.duration,
    p50Ms: latency.p50,
    p99Ms: latency.p99,
    p999Ms: latency.p99_9,
    maxMs: latency.max,
  };
}

const figures = reconnecting
  ? await reconnectingLoad({ port, path, connections, durationSec, amount })
  : await autocannonLoad();
process.stdout.write(`${JSON.stringify(figures)}\n`);
