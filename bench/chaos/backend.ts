/**
 * A backend whose behaviour a chaos run changes while it serves, over a second port. It is a process of its own, so that it
 * can be killed and stopped.
 *
 *   node bench/chaos/backend.ts NAME PORT
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listen, type TestBackend } from '../../test_backs/server.ts';
import { KNEE, SERVICE_MS, SLOTS } from './chaos-backend.ts';

/** `down` refuses connections and resets those that are open, as a killed process does; `/health` is good in all others. */
export type BackendMode = 'ok' | 'error' | 'slow' | 'down' | 'collapse';

export interface BackendState {
  mode: BackendMode;
  /** Delay of `slow`. */
  ms: number;
  /** Requests since the start without /health, and those that were answered with 500. */
  requests: number;
  errors: number;
  inFlight: number;
}

const BODY = 'nineteen bytes here';
/** What slow readers ask for: more than the kernel keeps of it on the way to them. */
const LARGE = Buffer.alloc(192 * 2 ** 10, 'x');

const [name = 'a', portText = '0'] = process.argv.slice(2);
const port = Number(portText);
const state: BackendState = { mode: 'ok', ms: 0, requests: 0, errors: 0, inFlight: 0 };
const fields = { 'content-length': BODY.length, 'x-backend': name };
const waiting: ServerResponse[] = [];
/** When each slot became free; BUSY: it is not. */
const freeAtMs = Array.from({ length: SLOTS }, () => 0);
const BUSY = Number.POSITIVE_INFINITY;
/** The most that a late timer gives back. */
const LATE_MS = 100;
let server: TestBackend | null = null;

function serve(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === '/health') return void response.writeHead(200, { 'content-length': 0 }).end();
  request.resume();
  if (request.url === '/large')
    return void response.writeHead(200, { 'content-length': LARGE.length }).end(LARGE);
  state.requests += 1;
  state.inFlight += 1;
  response.on('close', () => {
    state.inFlight -= 1;
  });
  if (state.mode === 'error') {
    state.errors += 1;
    response.writeHead(500, { ...fields, 'content-length': 0 }).end();
  } else if (state.mode === 'slow') {
    const timer = setTimeout(answer, state.ms, response);
    response.on('close', () => clearTimeout(timer));
  } else if (state.mode === 'collapse') {
    waiting.push(response);
    work();
  } else answer(response);
}

function answer(response: ServerResponse): void {
  response.writeHead(200, fields).end(BODY);
}

/**
 * A request whose client has left is served all the same: such a backend does not notice. A slot is free again at an exact
 * time, not when a timer fires, so that a busy machine does not lower the capacity.
 */
function work(): void {
  const slot = freeAtMs.findIndex((at) => at !== BUSY);
  const response = slot < 0 ? undefined : waiting.shift();
  if (response === undefined) return;
  const now = performance.now();
  const startMs = Math.max(freeAtMs[slot]!, now - LATE_MS);
  freeAtMs[slot] = BUSY;
  const underWay = waiting.length + SLOTS;
  const endMs = startMs + SERVICE_MS * Math.max(1, underWay / KNEE);
  setTimeout(() => {
    freeAtMs[slot] = endMs;
    answer(response);
    work();
  }, endMs - now);
}

async function open(): Promise<void> {
  const http = createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, serve);
  server = await listen(http, { port });
}

async function change(mode: BackendMode, ms: number): Promise<void> {
  state.mode = mode;
  state.ms = ms;
  if (mode === 'down') {
    await server?.close();
    server = null;
  } else if (server === null) await open();
}

const control = createServer((request, response) => {
  const { searchParams } = new URL(request.url ?? '/', 'http://backend');
  const mode = searchParams.get('mode') as BackendMode | null;
  const done = mode === null ? Promise.resolve() : change(mode, Number(searchParams.get('ms')));
  done.then(
    () => response.end(JSON.stringify(state)),
    (error: unknown) => response.writeHead(500).end(String(error)),
  );
});

await open();
console.log(JSON.stringify({ control: (await listen(control)).port }));
