/**
 * The admin port: a Fastify server with deadlines, caps and one way of refusing. Order of a request: request id, who may
 * talk (security.ts), does the path exist (known-routes.ts), body, schema, handler.
 */
import { randomUUID } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import fastify, { type FastifyBaseLogger, type FastifyReply, LogController } from 'fastify';
import { serializerCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { hostPort } from '../../contract/addresses.ts';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import { listenSentence } from '../../contract/listen-failure.ts';
import { type AdminSettings, UNMATCHED_ROUTE } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { type AdminApp, compileValidator } from './app.ts';
import { registerBuckets } from './buckets.ts';
import { registerClients } from './clients.ts';
import { registerConfig } from './config.ts';
import { capConnections } from './connections.ts';
import { limitHandler } from './handler-deadline.ts';
import { registerIndex } from './index-page.ts';
import { registerKeys } from './keys.ts';
import { KnownRoutes } from './known-routes.ts';
import { registerMetrics } from './metrics.ts';
import { collectRoutes, registerOpenapi } from './openapi.ts';
import { registerPools } from './pools.ts';
import { rawProblem, sendProblem, toProblem } from './problems.ts';
import { AccessGuard } from './security.ts';
import type { AdminServices } from './services.ts';
import { registerWorkers } from './workers.ts';

export interface AdminServer {
  /** With the real port where 0 was asked for. */
  url: string;
  /** Stops accepting, lets answers under way finish for closeMs, then cuts them. */
  close(): Promise<void>;
}

export interface AdminOptions {
  /** From a whole request to its answer, reloads apart; then 503. Default 15 s. */
  handlerMs?: number;
  /** For a whole request to arrive; then 408. Default 10 s. */
  requestMs?: number;
  /** For answers under way at the end. Default 2 s. */
  closeMs?: number;
}

const BODY_BYTES = 64 * 1024;
const HEADER_BYTES = 16 * 1024;
const HEADERS_MS = 5_000;
const CHECK_EVERY_MS = 500;
/** More than any set of scrapers, probes and people. */
const MAX_CONNECTIONS = 512;
const KEEP_ALIVE_MS = 10_000;
/** Silence on a connection with a request under way, such as a client that does not read. Above every handler's deadline. */
const IDLE_MS = 90_000;
const DEFAULTS = { handlerMs: 15_000, requestMs: 10_000, closeMs: 2_000 };

/**
 * startAdminServer listens; primary/main.ts calls it before the workers start, and again while the port is busy.
 * Rejects with LbError listen_failed, the system's error as cause.
 */
export async function startAdminServer(
  settings: AdminSettings,
  services: AdminServices,
  options: AdminOptions = {},
): Promise<AdminServer> {
  const limits = { ...DEFAULTS, ...options };
  const app = makeApp(services.logger, limits);
  watchRoutes(app, new AccessGuard(settings), limits.handlerMs);
  recordCalls(app, services);
  await addRoutes(app, services);
  try {
    await listen(app, settings);
  } catch (thrown) {
    await app.close();
    const where = `${settings.host}:${settings.port}`;
    const message = listenSentence(where, systemCodeOf(thrown), toError(thrown).message);
    throw new LbError('listen_failed', message, { cause: thrown });
  }
  return { url: urlOf(app, settings.host), close: () => closeWithin(app, limits.closeMs) };
}

function makeApp(logger: Logger, limits: typeof DEFAULTS): AdminApp {
  const loggerInstance: FastifyBaseLogger = logger.child(
    {},
    { level: logger.isLevelEnabled('warn') ? 'warn' : logger.level },
  );
  return fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    // Never the client's: nobody is a trusted peer here (B34).
    genReqId: () => randomUUID(),
    bodyLimit: BODY_BYTES,
    requestTimeout: limits.requestMs,
    connectionTimeout: IDLE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    return503OnClosing: false,
    // Long enough that the schema, not the router, refuses a long id (422).
    routerOptions: { maxParamLength: HEADER_BYTES },
    http: {
      maxHeaderSize: HEADER_BYTES,
      headersTimeout: Math.min(HEADERS_MS, limits.requestMs),
      requestTimeout: limits.requestMs,
      connectionsCheckingInterval: CHECK_EVERY_MS,
      // security.ts answers a missing Host with a problem; node would with an empty 400.
      requireHostHeader: false,
    },
    frameworkErrors: (error, _request, reply) => {
      stamp(reply);
      sendProblem(reply, toProblem(error));
    },
    clientErrorHandler: answerUnparsable,
  }).withTypeProvider<ZodTypeProvider>();
}

/** Sets what holds for all routes. Called before the first of them is added. */
function watchRoutes(app: AdminApp, guard: AccessGuard, handlerMs: number): void {
  const routes = new KnownRoutes();
  capConnections(app.server, MAX_CONNECTIONS);
  app.server.on('checkExpectation', refuseExpectation);
  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(serializerCompiler);
  app.addHook('onRoute', (route) => {
    routes.add(route.url, route.method);
    limitHandler(route, handlerMs);
  });
  app.addHook('onRequest', async (request, reply) => {
    stamp(reply);
    const path = pathOf(request.raw.url ?? '/');
    guard.check(request.raw, path);
    if (request.is404) routes.refuse(request.method, path);
    if (!hasBody(request.raw)) delete request.raw.headers['content-type'];
  });
  acceptJsonOnly(app);
  app.setErrorHandler((error, request, reply) => {
    const problem = toProblem(error);
    if (problem.status >= 500 && problem !== error) {
      request.log.warn(
        { err: error, method: request.method, route: request.routeOptions.url },
        'admin call failed',
      );
    }
    // With a 413 the framework asks for the connection's end, which would reset it before the answer is read. Without
    // that, the rest of the body is read and dropped, for requestMs at most.
    reply.removeHeader('connection');
    return sendProblem(reply, problem);
  });
  app.setNotFoundHandler((request) => routes.refuse(request.method, pathOf(request.raw.url ?? '/')));
}

/** Counts every answer, and logs writes and refused callers: who changed what, and who tried to. */
function recordCalls(app: AdminApp, services: AdminServices): void {
  app.addHook('onResponse', async ({ method, id, ip, raw, routeOptions }, { statusCode: status }) => {
    services.countRequest(routeOptions.url ?? UNMATCHED_ROUTE, status);
    const facts = { requestId: id, peer: ip, method, path: pathOf(raw.url ?? '/'), status };
    if (status === 401 || status === 403) services.logger.warn(facts, 'admin call refused');
    else if (method !== 'GET' && method !== 'HEAD') services.logger.info(facts, 'admin write');
  });
}

async function addRoutes(app: AdminApp, services: AdminServices): Promise<void> {
  await collectRoutes(app);
  registerIndex(app);
  registerMetrics(app, services);
  registerClients(app, services);
  registerBuckets(app, services);
  registerKeys(app, services);
  registerPools(app, services);
  registerWorkers(app, services);
  registerConfig(app, services);
  registerOpenapi(app);
}

/** An empty body counts as none, whatever Content-Type was announced. */
function acceptJsonOnly(app: AdminApp): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    if (body === '') done(null, undefined);
    else void parse(request, body, done);
  });
}

/** Headers of every answer: the request id; it must not be cached, nor its type be guessed. */
function stamp(reply: FastifyReply): void {
  reply.headers({
    'x-request-id': reply.request.id,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
}

/** A request has a body when one of the two fields says so (RFC 9112 §6.3). */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

function pathOf(target: string): string {
  const path = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '');
  const query = path.indexOf('?');
  return query < 0 ? path : path.slice(0, query);
}

const PARSER_PROBLEMS: Readonly<Record<string, { status: number; detail: string }>> = {
  HPE_HEADER_OVERFLOW: { status: 431, detail: 'the header is larger than 16 KiB' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, detail: 'the request did not arrive in time' },
};

/** Answers bytes that never became a request. */
function answerUnparsable(error: Error, socket: Duplex): void {
  const code = systemCodeOf(error);
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = PARSER_PROBLEMS[code ?? ''] ?? { status: 400, detail: 'the request is malformed' };
  socket.end(rawProblem(problem.status, problem.detail, randomUUID()), () => socket.destroy());
}

/** Answers 417 to an expectation other than 100-continue (RFC 9110 §10.1.1). */
function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const { socket } = response;
  if (socket === null) return;
  response.detachSocket(socket);
  socket.end(rawProblem(417, 'only 100-continue can be expected', randomUUID()));
}

/** `:port` means every address of IPv4 and IPv6, and where the system has no IPv6 every address of IPv4. */
async function listen(app: AdminApp, { host, port }: AdminSettings): Promise<void> {
  try {
    await app.listen({ host: await bindAddress(host), port });
  } catch (thrown) {
    if (host !== '::' || systemCodeOf(thrown) !== 'EAFNOSUPPORT') throw thrown;
    await app.listen({ host: '0.0.0.0', port });
  }
}

/** Resolves a name to one address. For localhost the framework would open a second listener, without our caps. */
async function bindAddress(host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  return (await lookup(host, { order: 'ipv4first' })).address;
}

function urlOf(app: AdminApp, host: string): string {
  const address = app.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return `http://${hostPort(host, port)}`;
}

async function closeWithin(app: AdminApp, closeMs: number): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), closeMs);
  try {
    await app.close();
  } finally {
    clearTimeout(cut);
  }
}
