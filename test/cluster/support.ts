/** For the tests of whole processes: backends that answer their name, databases, configurations, and calls of the admin port. */
import { request } from 'node:http';
import type { TestContext } from 'node:test';
import { type HttpTestBackend, startBackend } from '../support/backend.ts';
import { migratedDatabase, type PostgresServer, startPostgres } from '../support/postgres.ts';

export interface NamedBackend extends HttpTestBackend {
  readonly name: string;
}

/** startNamed runs a backend that answers its name: at once, or after `ms` at /slow?ms=. */
export async function startNamed(name: string, options: { port?: number } = {}): Promise<NamedBackend> {
  const backend = await startBackend((req, res) => {
    const url = new URL(req.url ?? '/', 'http://backend');
    const answer = () => res.writeHead(200, { 'content-length': name.length }).end(name);
    if (url.pathname === '/health') res.writeHead(200, { 'content-length': 0 }).end();
    else if (url.pathname === '/slow') {
      const timer = setTimeout(answer, Number(url.searchParams.get('ms')));
      res.on('close', () => clearTimeout(timer));
    } else req.resume().on('end', answer);
  }, options);
  return Object.defineProperty(backend, 'name', { value: name }) as NamedBackend;
}

/** poolOf makes the pool `app` of these backends. */
export function poolOf(backends: { url: string }[], more: object = {}): object {
  return { app: { backends: backends.map(({ url }) => ({ url })), ...more } };
}

/** startMigrated starts PostgreSQL with a database that has the newest schema; both end with the test. */
export async function startMigrated(t: TestContext): Promise<{ postgres: PostgresServer; url: string }> {
  const postgres = await startPostgres();
  t.after(() => postgres.remove());
  return { postgres, url: await migratedDatabase(postgres) };
}

/** A health check fast enough for a test. */
export const QUICK_CHECK = {
  type: 'http',
  path: '/health',
  interval: '200ms',
  timeout: '100ms',
  rise: 2,
  fall: 2,
};

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

/** ask sends one request on a new connection. */
export function ask(
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string; socketPath?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', headers, socketPath } = options;
    const sent = request(
      url,
      { agent: false, timeout: 30_000, method, headers, ...(socketPath === undefined ? {} : { socketPath }) },
      (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        res.on('error', reject);
        res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, text }));
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`no answer from ${url} in 30 s`)));
    sent.on('error', reject);
    sent.end(options.body);
  });
}

/** askJson sends JSON to the admin port and reads JSON. */
export async function askJson(
  url: string,
  { method = 'GET', body }: { method?: string; body?: unknown } = {},
): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await ask(url, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: answer.text === '' ? {} : JSON.parse(answer.text) };
}

export interface WorkerItem {
  pid: number;
  state: string;
  requestsTotal: number;
  connections: number;
  inFlight: number;
  revision: number;
}

/** workersOf returns the workers that the admin port lists. */
export async function workersOf(adminUrl: string): Promise<WorkerItem[]> {
  const { body } = await askJson(`${adminUrl}/api/v1/workers`);
  return body.items as WorkerItem[];
}

/** metricOf sums the series of a metric that have all of `labels`; null if there is none. */
export async function metricOf(
  adminUrl: string,
  name: string,
  labels: Record<string, string> = {},
): Promise<number | null> {
  const { text } = await ask(`${adminUrl}/metrics`);
  const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  const found = text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .filter((line) => wanted.every((pair) => line.includes(pair)));
  if (found.length === 0) return null;
  return found.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
