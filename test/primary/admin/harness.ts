/** A real admin port on a free port, and a client that sends any Host, path and body. */
import assert from 'node:assert/strict';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { TestContext } from 'node:test';
import type { AdminSettings, Settings } from '../../../src/contract/settings.ts';
import type { AdminParts } from '../../../src/primary/admin/parts.ts';
import { type AdminDeadlines, startAdminServer } from '../../../src/primary/admin/server.ts';
import { parseConfig } from '../../support/parse-config.ts';
import { adminSettings } from '../../support/settings.ts';
import { type FakeParts, makeFakeParts } from './fake-parts.ts';

export const CONFIG = `
pools:
  app:
    backends:
      - { url: http://127.0.0.1:8081, id: one }
      - { url: "http://[::1]:8082", weight: 3 }
    healthCheck: { interval: 2s, timeout: 1s }
  bare:
    backends: [{ url: http://127.0.0.1:8083 }]
routes:
  - { name: api, match: { host: "*.example.com", path: /api/, methods: [GET] }, pool: app }
  - { name: rest, pool: bare, rateLimit: off }
rateLimit:
  policies:
    default: { capacity: 100, refillPerSecond: 50 }
    gold: { capacity: 1000, refillPerSecond: 100, shadow: true }
`;

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  json: Json;
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Call {
  method?: string;
  path: string;
  headers?: Record<string, string | string[]>;
  /** An object is sent as JSON with its type; text and bytes as they are. */
  body?: object | string | Buffer;
}

export interface Admin {
  url: string;
  port: number;
  parts: FakeParts;
  call(call: Call): Promise<Answer>;
  close(): Promise<void>;
}

export function settingsOf(text: string): Settings {
  const loaded = parseConfig(text, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  return loaded.settings;
}

interface StartOptions {
  settings?: Partial<AdminSettings>;
  options?: Partial<AdminDeadlines>;
  /** Replace the in-memory parts. */
  clients?: AdminParts['directory']['clients'];
  audit?: AdminParts['audit'];
}

export async function startAdmin(
  t: TestContext,
  { settings = {}, options = {}, clients, audit }: StartOptions = {},
): Promise<Admin> {
  const parts = makeFakeParts(settingsOf(CONFIG));
  if (clients !== undefined) parts.directory.clients = clients;
  if (audit !== undefined) parts.audit = audit;
  const server = await startAdminServer(adminSettings(settings), parts, options);
  t.after(() => server.close());
  const port = Number(new URL(server.url).port);
  return {
    url: server.url,
    port,
    parts,
    call: (call) => callPort(port, call),
    close: () => server.close(),
  };
}

export function callPort(port: number, { method = 'GET', path, headers = {}, body }: Call): Promise<Answer> {
  const isJson = typeof body === 'object' && !Buffer.isBuffer(body);
  const payload = isJson ? JSON.stringify(body) : body;
  const sent = { ...(isJson ? { 'content-type': 'application/json' } : {}), ...headers };
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { port, host: '127.0.0.1', method, path, headers: sent, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          const json = (response.headers['content-type'] ?? '').includes('json') && text !== '';
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            json: json ? (JSON.parse(text) as Json) : null,
          });
        });
      },
    );
    request.setTimeout(5_000, () => request.destroy(new Error(`no answer to ${method} ${path} in 5 s`)));
    request.on('error', reject);
    if (payload !== undefined && headers['transfer-encoding'] === undefined) {
      request.setHeader('content-length', Buffer.byteLength(payload));
    }
    request.end(payload);
  });
}

/** assertProblem checks everything that all refusals share. `fields`: the fields named by a 422, in order. */
export function assertProblem(answer: Answer, status: number, fields?: string[]): void {
  const shown = `${answer.status} ${answer.text}`;
  assert.equal(answer.status, status, shown);
  assert.equal(answer.headers['content-type'], 'application/problem+json', shown);
  const requestId = answer.headers['x-request-id'];
  assert.match(String(requestId), /^[A-Za-z0-9._-]{1,128}$/);
  const { json } = answer;
  assert.ok(typeof json === 'object' && json !== null && !Array.isArray(json), shown);
  assert.equal(json.type, 'about:blank');
  assert.equal(json.status, status);
  assert.equal(json.requestId, requestId);
  assert.ok(typeof json.title === 'string' && json.title !== '');
  assert.ok(typeof json.detail === 'string' && json.detail !== '');
  const errors = Array.isArray(json.errors) ? json.errors : undefined;
  const named = errors?.map((error) => (error as { field: string }).field);
  if (fields !== undefined) assert.deepEqual(named, fields, shown);
  else assert.equal(status === 422, named !== undefined, shown);
}
