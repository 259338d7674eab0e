/** The dashboard's files, as scripts/build-dashboard.ts has made them, and what its user may do. */
import { hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { systemClock } from '../../contract/clock.ts';
import { systemCodeOf } from '../../contract/errors.ts';
import { productFile } from '../../infra/product-files.ts';
import { type AdminApp, call } from './app.ts';
import { HttpProblem } from './problems.ts';

/** The same folder from src/ and from dist/. */
const FOLDER = productFile('dist/dashboard');
const PAGE = '/index.html';

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
};
/** By the name of a coding in Accept-Encoding (RFC 9110 §12.5.3), the best first. */
const CODINGS: readonly (readonly [coding: string, ending: string])[] = [
  ['br', '.br'],
  ['gzip', '.gz'],
];

/** No script, style or connection of anybody else, whatever the names of clients and backends hold. */
const FIELDS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  vary: 'accept-encoding',
};
/** The name of an asset changes with its content; that of the page does not. */
const FOR_EVER = 'public, max-age=31536000, immutable';
const ASK_EACH_TIME = 'no-cache';

const NOT_BUILT =
  'the dashboard is not built: run `make build` in the folder of Sluice (`make demo` builds it too), then load this page again';

/** How long the files are kept in memory. */
const KEPT_MS = 1_000;
const FILE_NAME = /\.(html|js|css|svg)(\.br|\.gz)?$/;
const ASSET = /^\/assets\/[\w-]+\.(js|css|svg)$/;

/** isDashboardFile: whether a path is one of the files, which hold no secret, so that the login page needs no token. */
export function isDashboardFile(path: string): boolean {
  return path === '/' || ASSET.test(path);
}

const sessionView = z.strictObject({
  access: z
    .enum(['write', 'read'])
    .meta({ description: 'read: calls that change something are refused (403)' }),
  tokenNeeded: z.boolean(),
});

/** registerDashboard adds the routes. @param folder in place of dist/dashboard; for tests */
export function registerDashboard(app: AdminApp, tokenNeeded: boolean, folder = FOLDER): void {
  const files = sharedFiles(folder);
  app.get('/', {
    schema: {
      tags: ['operation'],
      summary: 'The dashboard',
      security: [],
      response: { 200: { description: 'A page', content: { 'text/html': { schema: z.string() } } } },
    },
    handler: async (request, reply) => sendFile(request, reply, await files(), PAGE),
  });
  app.get('/assets/:file', {
    schema: { hide: true },
    handler: async (request, reply) => {
      const { url } = request;
      if (!ASSET.test(url)) throw new HttpProblem(404, 'there is no such file');
      return sendFile(request, reply, await files(), url);
    },
  });
  app.get(
    '/api/v1/session',
    call('operation', 'What the token of this call allows', [], { response: { 200: sessionView } }),
    async ({ access }) => ({ access, tokenNeeded }),
  );
}

interface File {
  body: Buffer;
  etag: string;
}
/** By the path below the folder, with a slash before it. */
type Files = ReadonlyMap<string, File>;

/**
 * All answers share the bytes of a file, as whoever asks needs no token, and may not read. The folder is read again, as a whole, once a
 * second at most: it may be built anew at any time.
 */
function sharedFiles(folder: string): () => Promise<Files> {
  let last: { files: Promise<Files>; untilMs: number } | null = null;
  return () => {
    const nowMs = systemClock.monotonicMs();
    if (last === null || nowMs >= last.untilMs) last = { files: readFiles(folder), untilMs: nowMs + KEPT_MS };
    return last.files;
  };
}

async function readFiles(folder: string): Promise<Files> {
  const files = new Map<string, File>();
  const names = (await unlessAbsent(readdir(folder, { recursive: true }))) ?? [];
  for (const name of names.filter((each) => FILE_NAME.test(each))) {
    const body = await unlessAbsent(readFile(join(folder, name)));
    if (body !== null) files.set(`/${name}`, { body, etag: `"${hash('sha256', body, 'base64url')}"` });
  }
  return files;
}

async function unlessAbsent<T>(read: Promise<T>): Promise<T | null> {
  return read.catch((error: unknown) => {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
    return null;
  });
}

function sendFile(request: FastifyRequest, reply: FastifyReply, files: Files, path: string) {
  const accepted = request.headers['accept-encoding'] ?? '';
  const [coding = null, ending = ''] = CODINGS.find(([name]) => accepts(accepted, name)) ?? [];
  const file = files.get(`${path}${ending}`);
  if (file === undefined) throw new HttpProblem(404, path === PAGE ? NOT_BUILT : 'there is no such file');
  const { body, etag } = file;
  reply.headers({ ...FIELDS, etag, 'cache-control': path === PAGE ? ASK_EACH_TIME : FOR_EVER });
  if (coding !== null) reply.header('content-encoding', coding);
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  return reply.type(TYPES[path.slice(path.lastIndexOf('.') + 1)] ?? '').send(body);
}

function accepts(field: string, coding: string): boolean {
  return field.split(',').some((item) => {
    const [name = '', weight = ''] = item
      .trim()
      .toLowerCase()
      .split(/\s*;\s*/);
    return name === coding && !/^q=0(\.0*)?$/.test(weight);
  });
}
