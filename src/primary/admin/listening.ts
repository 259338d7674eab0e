/** Where the admin port listens, how many connections it keeps, and requests of each, and how it closes. */
import { lookup } from 'node:dns/promises';
import type { RequestListener, Server, ServerOptions, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { AdminSettings } from '../../contract/settings.ts';
import { bindEverywhere, boundUrl, listenFailure } from '../../infra/listeners.ts';
import { http } from '../../infra/node-http.ts';
import { atMost } from '../../infra/with-deadline.ts';
import type { AdminApp } from './app.ts';

/** More than any set of scrapers, probes and people needs. */
const MAX_CONNECTIONS = 512;
/** Of them, for clients that are about to send a request: who reads nothing on all the others cannot keep these out. */
const IDLE_SHARE = 1 / 8;
/** Silence of a connection with a call under way, such as a client that does not read. Above every handler's deadline. */
const IDLE_MS = 90_000;
/** Of one connection. Browsers, scrapers, probes and the command line wait for each answer before they send the next request. */
const MAX_UNANSWERED = 8;

/**
 * listen opens the port and returns its URL, with the real port where 0 was asked for. It closes the app where that fails,
 * and rejects with LbError listen_failed, the system's error as cause.
 */
export async function listen(app: AdminApp, { host, port }: AdminSettings): Promise<string> {
  const address = { kind: 'tcp', host, port } as const;
  const bind = (to: string) => app.listen({ host: to, port });
  try {
    // A name becomes one address. For localhost the framework would open a second listener, without the caps.
    await (host === '::' ? bindEverywhere(bind) : bind((await lookup(host, { order: 'ipv4first' })).address));
  } catch (thrown) {
    await app.close();
    throw listenFailure(address, thrown);
  }
  return boundUrl(app.server, address);
}

/**
 * makeServer makes the server of the framework. At the cap, the connection that has been idle longest makes room for the new one; where few
 * are idle, the one that has left its answer unread longest. A connection with too many unanswered requests is cut: what it has sent before is
 * parsed at once, and would be answered at once.
 * @param answer the framework's listener
 */
export function makeServer(
  options: ServerOptions,
  answer: RequestListener,
  maxConnections = MAX_CONNECTIONS,
): Server {
  const server = http.createServer(options);
  server.setTimeout(IDLE_MS);
  /** Connections with requests under way, those for the longest time first, and their answers in order. */
  const busy = new Map<Socket, ServerResponse[]>();
  /** Connections without a request under way, the longest idle first. */
  const idle = new Set<Socket>();
  let openCount = 0;
  server.on('connection', (socket) => {
    openCount++;
    idle.add(socket);
    socket.once('close', () => {
      openCount--;
      idle.delete(socket);
      busy.delete(socket);
    });
    if (openCount <= maxConnections) return;
    const [oldest = socket] = idle;
    const cut = idle.size > maxConnections * IDLE_SHARE ? oldest : (firstUnread(busy) ?? oldest);
    idle.delete(cut);
    busy.delete(cut);
    cut.destroy();
  });
  server.on('request', (request, response) => {
    const { socket } = request;
    const answers = busy.get(socket) ?? [];
    if (answers.length >= MAX_UNANSWERED) socket.destroy();
    // Also what is parsed of the same bytes behind it.
    if (socket.destroyed) return;
    answers.push(response);
    busy.set(socket, answers);
    idle.delete(socket);
    response.once('close', () => {
      answers.shift();
      if (answers.length > 0) return;
      busy.delete(socket);
      if (!socket.destroyed) idle.add(socket);
    });
    answer(request, response);
  });
  return server;
}

function firstUnread(busy: ReadonlyMap<Socket, ServerResponse[]>): Socket | undefined {
  for (const [socket, [first]] of busy) if (first?.writableEnded) return socket;
  return undefined;
}

/** closeWithin stops accepting, lets calls under way finish for closeMs, then cuts them. */
export async function closeWithin(app: AdminApp, closeMs: number): Promise<void> {
  const closed = app.close();
  if (!(await atMost(closed, closeMs))) app.server.closeAllConnections();
  await closed;
}
