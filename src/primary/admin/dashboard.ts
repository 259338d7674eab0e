/** The dashboard's files, as scripts/build-dashboard.ts has made them, and what its user may do. */
import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';
import { systemCodeOf } from '../../contract/errors.ts';
import { type AdminApp, call } from './app.ts';
import { HttpProblem } from './problems.ts';

/** The same folder from src/ and from dist/. */
const FOLDER = fileURLToPath(new URL('../../../dist/dashboard', import.meta.url));
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
  app.get('/', {
    schema: {
      tags: ['operation'],
      summary: 'The dashboard',
      security: [],
      response: { 200: { description: 'A page', content: { 'text/html': { schema: z.string() } } } },
    },
    handler: async (request, reply) => sendFile(request, reply, { folder, path: PAGE }),
  });
  app.get('/assets/:file', {
    schema: { hide: true },
    handler: async (request, reply) => {
      const { url } = request;
      if (!ASSET.test(url)) throw new HttpProblem(404, 'there is no such file');
      return sendFile(request, reply, { folder, path: url });
    },
  });
  app.get(
    '/api/v1/session',
    call('operation', 'What the token of this call allows', [], { response: { 200: sessionView } }),
    async ({ access }) => ({ access, tokenNeeded }),
  );
}

interface FilePlace {
  folder: string;
  path: string;
}

/** Read from the disk each time: a page loads three files, and they may be built anew at any time. */
async function sendFile(request: FastifyRequest, reply: FastifyReply, { folder, path }: FilePlace) {
  const accepted = request.headers['accept-encoding'] ?? '';
  const [coding = null, ending = ''] = CODINGS.find(([name]) => accepts(accepted, name)) ?? [];
  const body = await readFile(`${folder}${path}${ending}`).catch((error: unknown) => {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
    throw new HttpProblem(404, path === PAGE ? NOT_BUILT : 'there is no such file');
  });
  const etag = `"${hash('sha256', body, 'base64url')}"`;
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
