/** A pool with its own timer, and a sink that records its calls. */
import type { AddressInfo, Server } from 'node:net';
import type { TestContext } from 'node:test';
import { type Clock, systemClock } from '../../src/contract/clock.ts';
import type { LbError } from '../../src/contract/errors.ts';
import { NO_BODY } from '../../src/contract/request-head.ts';
import type { Wire } from '../../src/contract/wire.ts';
import { DeadlineTimer } from '../../src/infra/deadline-timer.ts';
import { chooseDataPath, wiresOf } from '../../src/infra/wire/wire-choice.ts';
import { processBodyBuffers } from '../../src/memory/body-buffers.ts';
import { ConnectionPool } from '../../src/upstream/connection-pool.ts';
import type { ConnectionSettings } from '../../src/upstream/connection-settings.ts';
import type { BackendConnections, Exchange } from '../../src/upstream/exchange.ts';
import { H2Pool } from '../../src/upstream/h2/h2-pool.ts';
import type { ResponseHead, ResponseSink, UpstreamRequest } from '../../src/upstream/upstream-request.ts';
import { waitFor } from '../support/wait.ts';

const TICK_MS = 10;
/** As in a worker. */
export const wires = wiresOf(chooseDataPath(process.version, process.env).wire);

type PoolOptions = Partial<ConnectionSettings> & { port: number; clock?: Clock };

/** makePool builds a pool whose deadlines are checked every 10 ms. The pool is closed with the test. */
export function makePool(t: TestContext, options: PoolOptions): ConnectionPool & { faults: Error[] } {
  return make(t, options, (settings) => new ConnectionPool(settings));
}

/** makeH2Pool is makePool for HTTP/2. */
export function makeH2Pool(t: TestContext, options: PoolOptions): H2Pool & { faults: Error[] } {
  return make(t, options, (settings) => new H2Pool(settings));
}

function make<Pool extends BackendConnections>(
  t: TestContext,
  options: PoolOptions,
  build: (settings: ConnectionSettings) => Pool,
): Pool & { faults: Error[] } {
  const faults: Error[] = [];
  const onFault = (error: unknown): void => {
    faults.push(error instanceof Error ? error : new Error(String(error)));
  };
  const timer = new DeadlineTimer({ clock: options.clock ?? systemClock, tickMs: TICK_MS, onError: onFault });
  timer.start();
  const pool = build({
    host: '127.0.0.1',
    connectMs: 5_000,
    responseMs: 5_000,
    idleMs: 5_000,
    timer,
    wires,
    buffers: processBodyBuffers,
    onFault,
    ...options,
  });
  t.after(async () => {
    pool.close();
    // No test may leave a socket open.
    await waitFor(`all sockets closed (${pool.openCount} open)`, () => pool.openCount === 0);
    timer.stop();
  });
  return Object.assign(pool, { faults });
}

export function get(target = '/', more: Partial<UpstreamRequest> = {}): UpstreamRequest {
  const lines = 'Host: test\r\n';
  return { method: 'GET', target, headerLines: lines, bodyLength: NO_BODY, upgrade: '', ...more };
}

/** RecordingSink accepts everything at once. Tests override methods. */
export class RecordingSink implements ResponseSink {
  exchange: Exchange | null = null;
  readonly calls: string[] = [];
  readonly interims: number[] = [];
  head: ResponseHead | null = null;
  readonly chunks: Buffer[] = [];
  trailers: string[] = [];
  error: LbError | null = null;
  ended = false;
  drainCount = 0;

  onConnected(): void {
    this.calls.push('connected');
  }

  onInformation(status: number, _lines: string): void {
    this.calls.push('information');
    this.interims.push(status);
  }

  onHead(head: ResponseHead, completeBody: string | null): void {
    this.calls.push('head');
    this.head = head;
    if (completeBody === null) return;
    this.chunks.push(Buffer.from(completeBody, 'latin1'));
    this.ended = true;
  }

  onBody(chunk: Buffer): boolean {
    if (this.calls.at(-1) !== 'body') this.calls.push('body');
    this.chunks.push(Buffer.from(chunk));
    return true;
  }

  onEnd(rawTrailers: string[]): boolean {
    this.calls.push('end');
    this.trailers = rawTrailers;
    this.ended = true;
    return true;
  }

  onSwitch(_head: ResponseHead, wire: Wire): void {
    this.calls.push('switch');
    wire.reset();
  }

  onRequestDrain(): void {
    this.drainCount++;
  }

  onError(error: LbError): void {
    this.calls.push('error');
    this.error = error;
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get over(): boolean {
    return this.ended || this.error !== null;
  }

  async finished(): Promise<this> {
    await waitFor('the exchange to end', () => this.over, { everyMs: 1 });
    return this;
  }
}

/** send starts a request and gives the sink its exchange. Like an attempt, it continues at once when the connection is open. */
export function send<Sink extends RecordingSink>(
  pool: BackendConnections,
  request: UpstreamRequest,
  sink: Sink,
  options = { fresh: false },
): Sink {
  sink.exchange = pool.start(request, sink, options);
  if (sink.exchange.connected && request.bodyLength !== NO_BODY) sink.onConnected();
  return sink;
}

/** ask sends a request and waits for its answer or error. */
export async function ask(
  pool: BackendConnections,
  request: UpstreamRequest = get(),
): Promise<RecordingSink> {
  return send(pool, request, new RecordingSink()).finished();
}

/** listen gives the port of a server that ends with the test. */
export async function listen(
  t: TestContext,
  server: Server & { closeAllConnections?: () => void },
): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => {
    server.closeAllConnections?.();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}
