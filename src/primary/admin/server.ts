/**
 * The admin port: a Fastify server with deadlines and caps. Order of a request: request id, who may call (security.ts), does
 * the path exist, body, schema (validation.ts), handler. Every refusal is a problem (problems.ts).
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import fastify, { type FastifyBaseLogger, type FastifyReply, LogController } from 'fastify';
import { serializerCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { AdminSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { type AdminApp, limitHandler } from './app.ts';
import { registerAudit } from './audit.ts';
import { registerBuckets } from './buckets.ts';
import { registerClients } from './clients.ts';
import { registerConfig } from './config.ts';
import { registerDashboard } from './dashboard.ts';
import { registerDescription } from './description.ts';
import { registerEvents } from './events.ts';
import { registerExplain } from './explain.ts';
import { registerKeys } from './keys.ts';
import { closeWithin, listen, makeServer } from './listening.ts';
import { registerLogLevel } from './log-level.ts';
import { registerOperation } from './operation.ts';
import type { AdminParts } from './parts.ts';
import { callerOf, Places } from './places.ts';
import { registerPools } from './pools.ts';
import { HttpProblem, refuseExpectation, refuseUnparsable, sendProblem, toProblem } from './problems.ts';
import { isWrite, pathOf, recordAnswers, recordWrites } from './records.ts';
import { registerRequests } from './requests.ts';
import { type Access, AccessGuard } from './security.ts';
import { registerStatus } from './status.ts';
import { registerTop } from './top.ts';
import { registerTunnels } from './tunnels.ts';
import { compileValidator } from './validation.ts';
import { registerWorkers } from './workers.ts';

const DEFAULTS = {
  /** From a whole request to its answer, except for reloads; then 503. */
  handlerMs: 15_000,
  /** For a whole request to arrive; then 408. */
  requestMs: 10_000,
  /** For calls under way when the port closes. */
  closeMs: 2_000,
};
export type AdminDeadlines = typeof DEFAULTS;

const BODY_BYTES = 64 * 1024;
const HEADER_BYTES = 16 * 1024;
const HEADERS_MS = 5_000;
const CHECK_EVERY_MS = 500;
const KEEP_ALIVE_MS = 10_000;

/**
 * startAdminServer is called by primary/primary-parts.ts while the workers start. `url` has the real port. Rejects with LbError listen_failed,
 * the system's error as cause. @param deadlines in place of the defaults; for tests
 */
export async function startAdminServer(
  settings: AdminSettings,
  parts: AdminParts,
  deadlines: Partial<AdminDeadlines> = {},
) {
  const { handlerMs, requestMs, closeMs } = { ...DEFAULTS, ...deadlines };
  const app = makeApp(parts.logger, requestMs);
  const onHandled = recordWrites(app, parts, settings.token === null ? 'none' : 'admin');
  watchRoutes(app, new AccessGuard(settings, parts.logger), { handlerMs, onHandled });
  recordAnswers(app, parts);
  await registerDescription(app);
  registerOperation(app, parts);
  registerStatus(app, parts);
  registerEvents(app, parts);
  registerClients(app, parts);
  registerBuckets(app, parts);
  registerKeys(app, parts);
  registerPools(app, parts);
  registerWorkers(app, parts);
  registerTunnels(app, parts);
  registerTop(app, parts);
  registerRequests(app, parts);
  registerAudit(app, parts);
  registerConfig(app, parts);
  registerExplain(app, parts);
  registerDashboard(app, settings.token !== null);
  registerLogLevel(app, parts);
  return { url: await listen(app, settings), close: () => closeWithin(app, closeMs) };
}

function makeApp(logger: Logger, requestMs: number): AdminApp {
  // Not below warn: the framework's own lines say nothing new. Made for each request, so that it follows a change of log.level.
  const childLoggerFactory = (_: unknown, fields: object): FastifyBaseLogger =>
    logger.child(fields, { level: logger.isLevelEnabled('warn') ? 'warn' : logger.level });
  const options = {
    maxHeaderSize: HEADER_BYTES,
    headersTimeout: Math.min(HEADERS_MS, requestMs),
    requestTimeout: requestMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CHECK_EVERY_MS,
    // security.ts answers a missing Host with a problem; node:http would with an empty 400.
    requireHostHeader: false,
  };
  return fastify({
    loggerInstance: childLoggerFactory(null, {}),
    childLoggerFactory,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    // Never the client's own id: the admin port trusts no peer (B34).
    genReqId: () => randomUUID(),
    bodyLimit: BODY_BYTES,
    return503OnClosing: false,
    // Large enough that the schema, not the router, refuses a long id (422).
    routerOptions: { maxParamLength: HEADER_BYTES },
    schemaController: { compilersFactory: { buildValidator: notBuilt, buildSerializer: notBuilt } },
    serverFactory: (answer) => makeServer(options, answer),
    frameworkErrors: (error, _request, reply) => {
      stamp(reply);
      sendProblem(reply, toProblem(error));
    },
    clientErrorHandler: refuseUnparsable,
  }).withTypeProvider<ZodTypeProvider>();
}

/** In place of the framework's own compilers, a hundred modules that it would load although watchRoutes() sets others. */
function notBuilt(): never {
  throw new Error('a route was added before watchRoutes()');
}

/** Sets what holds for all routes; called before any route is added. */
function watchRoutes(
  app: AdminApp,
  guard: AccessGuard,
  { handlerMs, onHandled }: { handlerMs: number; onHandled: ReturnType<typeof recordWrites> },
): void {
  const routes: KnownRoute[] = [];
  const places = new Places();
  app.server.on('checkExpectation', refuseExpectation);
  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(serializerCompiler);
  app.addHook('onRoute', (route) => {
    const pattern = route.url.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]*');
    routes.push({ pattern: new RegExp(`^${pattern}$`), methods: [route.method].flat() });
    limitHandler(route, handlerMs, onHandled);
  });
  app.addHook('onRequest', async (request, reply) => {
    stamp(reply);
    const path = pathOf(request);
    request.access = guard.check(request.raw, path, isWrite(request));
    const caller = callerOf(path, request.access);
    if (caller !== null) places.take(caller, reply);
    if (request.is404) throw noRoute(routes, request.method, path);
    if (!hasBody(request.raw)) delete request.raw.headers['content-type'];
  });
  app.decorateRequest('access', 'read');
  app.decorateRequest('atWork', false);
  acceptJsonOnly(app);
  app.setErrorHandler((error, request, reply) => {
    const problem = toProblem(error);
    if (problem.status >= 500 && problem !== error) {
      const facts = { err: error, method: request.method, route: request.routeOptions.url };
      request.log.warn(facts, 'admin call failed');
    }
    // The framework ends the connection after a 413. That would reset it before the client reads the answer. Without the
    // field, the rest of the body is read and dropped, for requestMs at most.
    reply.removeHeader('connection');
    return sendProblem(reply, problem);
  });
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What the token of the call allows. */
    access: Access;
  }
}

type KnownRoute = { pattern: RegExp; methods: string[] };

/** The refusal where no route takes a request: 405 or 404. The framework answers 404 to all of them. */
function noRoute(routes: KnownRoute[], method: string, path: string): HttpProblem {
  const allowed = routes.flatMap(({ pattern, methods }) => (pattern.test(path) ? methods : []));
  if (allowed.length === 0)
    return new HttpProblem(404, 'there is nothing at this path (a slash inside an id is written %2F)');
  const headers = { allow: [...new Set(allowed)].join(', ') };
  return new HttpProblem(405, `${method} is not allowed here`, { headers });
}

/** An empty body counts as none, whatever its Content-Type. */
function acceptJsonOnly(app: AdminApp): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    if (body === '') done(null, undefined);
    else void parse(request, body, done);
  });
}

/** Fields of every answer: its request id; no cache may keep it; no browser may guess its type. */
function stamp(reply: FastifyReply): void {
  reply.headers({
    'x-request-id': reply.request.id,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
}

/** A request has a body when one of these two fields says so (RFC 9112 §6.3). */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
