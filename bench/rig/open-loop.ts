/**
 * An open-loop load generator: requests leave at the times of a Poisson process, whether or not earlier ones are answered,
 * each on an idle keep-alive connection or a new one. Latency counts from the planned time, so it holds half a tick or so. Ends with a line of JSON.
 *
 *   node bench/rig/open-loop.ts PORT PATH RATE_PER_SEC DURATION_SEC
 */
import { connect, type Socket } from 'node:net';
import { percentile } from './stats.ts';

const [portText = '', path = '/', rateText = '', secondsText = ''] = process.argv.slice(2);
const port = Number(portText);
const ratePerMs = Number(rateText) / 1_000;
const durationMs = Number(secondsText) * 1_000;
const REQUEST = `GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`;
const MAX_CONNECTIONS = 4_000;
/** What was planned since the last tick leaves together: a loop that turns without rest would take a core from the others. */
const TICK_MS = 1;
const LINGER_MS = 2_000;
/**
 * Connections and compiled code are not what is measured. The rate grows over this part: a start at full speed heaps up
 * thousands of requests before anything is compiled, on this side first.
 */
const WARM_UP_SHARE = 0.3;
const FIRST_RATE_SHARE = 0.05;
const WARM_UP_MS = durationMs * WARM_UP_SHARE;

const latencies: number[] = [];
const lags: number[] = [];
const idle: Connection[] = [];
let connectionCount = 0;
let failed = 0;
let awaited = 0;

class Connection {
  readonly socket: Socket;
  plannedMs = -1;
  text = '';

  constructor() {
    connectionCount += 1;
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text: string) => this.read(text));
    this.socket.on('error', () => this.socket.destroy());
    this.socket.on('close', () => this.lost());
  }

  ask(plannedMs: number): void {
    this.plannedMs = plannedMs;
    this.text = '';
    awaited += 1;
    this.socket.write(REQUEST, 'latin1');
  }

  read(text: string): void {
    this.text += text;
    const headEnd = this.text.indexOf('\r\n\r\n');
    if (headEnd < 0 || this.plannedMs < 0) return;
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(this.text)?.[1] ?? 0);
    if (this.text.length < headEnd + 4 + length) return;
    if (!this.text.startsWith('HTTP/1.1 200')) failed += 1;
    else if (this.plannedMs > WARM_UP_MS) latencies.push(now() - this.plannedMs);
    this.plannedMs = -1;
    awaited -= 1;
    idle.push(this);
  }

  lost(): void {
    connectionCount -= 1;
    const index = idle.indexOf(this);
    if (index >= 0) idle.splice(index, 1);
    if (this.plannedMs < 0) return;
    this.plannedMs = -1;
    awaited -= 1;
    failed += 1;
  }
}

const startMs = performance.now();
const now = () => performance.now() - startMs;
let plannedMs = 0;
const rateShare = () => Math.min(1, Math.max(FIRST_RATE_SHARE, plannedMs / WARM_UP_MS));
/** Exponential pauses make a Poisson process. */
const nextPauseMs = () => -Math.log(1 - Math.random()) / (ratePerMs * rateShare());

function turn(): void {
  const nowMs = now();
  for (; plannedMs <= nowMs && plannedMs < durationMs; plannedMs += nextPauseMs()) {
    if (idle.length === 0 && connectionCount >= MAX_CONNECTIONS) {
      if (plannedMs > WARM_UP_MS) failed += 1;
      continue;
    }
    if (plannedMs > WARM_UP_MS) lags.push(nowMs - plannedMs);
    (idle.pop() ?? new Connection()).ask(plannedMs);
  }
  if (plannedMs >= durationMs) {
    if (awaited === 0 || now() > durationMs + LINGER_MS) finish();
    else setTimeout(turn, 5);
  } else setTimeout(turn, TICK_MS);
}

function finish(): void {
  const share = (values: number[], of: number) => percentile(values, of);
  const line = {
    requests: latencies.length,
    failed: failed + awaited,
    p50Ms: share(latencies, 0.5),
    p99Ms: share(latencies, 0.99),
    p999Ms: share(latencies, 0.999),
    lagP99Ms: share(lags, 0.99),
    connections: connectionCount,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit(0));
}

turn();
