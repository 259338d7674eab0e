/**
 * The second engine: raw node:http on documented API only, for those who trust it more than ours, and as the oracle of ours. Its
 * keep-alive timers, `100 Continue`, bare 400s and closing of idle connections are switched off or taken over.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { systemCodeOf } from '../../../contract/errors.ts';
import type { RequestHead } from '../../../contract/request-head.ts';
import type { Wire, WireEvents } from '../../../contract/wire.ts';
import { RequestHeadReader } from '../../../http1/request-head-reader.ts';
import { http } from '../../../infra/node-http.ts';
import { socketWires } from '../../../infra/wire/socket-wire.ts';
import { PendingMemory } from '../../../memory/pending-bytes.ts';
import type { UnparsedRequest } from '../../../proxy/handler.ts';
import type { ConnectionOwner } from '../base-connection.ts';
import { ClientConnection } from '../http1/client-connection.ts';
import type { Engine } from '../server.ts';
import { HEAD_CHECK_MS, NodeConnection, type QueuedRequests } from './node-connection.ts';
import { NodeDownstream } from './node-downstream.ts';

/** Room for method, version and line end beside targetBytes and headerBytes. */
const PARSER_MARGIN_BYTES = 1024;

/** The parser of node has checked the sizes. */
const NO_LIMITS = { targetBytes: Number.POSITIVE_INFINITY, headerBytes: Number.POSITIVE_INFINITY };

const CONNECTION = Symbol('connection');

interface OwnedSocket extends Socket {
  [CONNECTION]?: NodeConnection;
}

/** node reads maxHeaderSize at each connection; its types only know the option. */
type HttpServer = Server & { maxHeaderSize?: number };

/** nodeEngine is called once per worker. */
export function nodeEngine(): Engine {
  const queued: QueuedRequests = { count: 0 };
  const pendingMemory = new PendingMemory();
  return (owner) => {
    const server = makeServer(owner, pendingMemory);
    // node begins to watch its deadlines when a server listens, which this one never does.
    server.emit('listening');
    return (socket: OwnedSocket, client) => {
      const { limits, timeouts } = owner.plan;
      server.headersTimeout = timeouts.headersMs;
      server.maxHeadersCount = limits.headerCount + 1;
      server.maxHeaderSize = limits.headerBytes + limits.targetBytes + PARSER_MARGIN_BYTES;
      const connection = new NodeConnection(socket, client, owner, queued);
      socket[CONNECTION] = connection;
      server.emit('connection', socket);
      return connection;
    };
  };
}

function makeServer(owner: ConnectionOwner, pendingMemory: PendingMemory): HttpServer {
  const reader = new RequestHeadReader();
  const server: HttpServer = http.createServer({
    keepAliveTimeout: 0,
    optimizeEmptyRequests: true,
    requestTimeout: 0,
    headersTimeout: owner.plan.timeouts.headersMs,
    connectionsCheckingInterval: HEAD_CHECK_MS,
    // Our own refusal says why, and carries a request id.
    requireHostHeader: false,
    shouldUpgradeCallback: mayUpgrade,
    httpValidation: 'strict',
  });
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const connection = connectionOf(request.socket);
    if (connection === undefined || request.socket.destroyed) return;
    const head = headOf(request, reader);
    if (head === null) {
      connection.fail({ status: reader.problemStatus, method: request.method ?? null });
      return;
    }
    // Behind a request that is not answered, an upgrade is a plain request. One with a body is refused.
    if (!head.hasBody) head.upgrade = '';
    connection.take(new NodeDownstream(head, response, connection));
  };
  server.on('upgrade', (request, stream, early) => {
    const socket: OwnedSocket = stream as Socket;
    const connection = connectionOf(socket);
    const head = headOf(request, reader);
    if (connection === undefined || head === null) {
      refuseUpgraded(socket, connection, { status: reader.problemStatus, method: request.method ?? null });
      return;
    }
    connection.release();
    delete socket[CONNECTION];
    const makeWire = (events: WireEvents): Wire => socketWires.accept(socket, events);
    const next = new ClientConnection(connection.client, owner, makeWire, pendingMemory);
    owner.replace(connection, next);
    next.begin(head, early);
  });
  server.on('request', onRequest);
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', onRequest);
  server.on('connect', (_request, socket) =>
    refuseUpgraded(socket, connectionOf(socket as Socket), { status: 501, method: 'CONNECT' }),
  );
  server.on('clientError', (error, socket) => {
    const connection = connectionOf(socket as Socket);
    const status = statusOf(error, connection);
    if (connection === undefined || status === null) socket.destroy();
    else connection.fail({ status, method: null });
  });
  return server;
}

/** An upgrade that node gives away with its socket: our own engine serves it, and whatever it becomes, it is the last request. */
function mayUpgrade({ socket, headers }: IncomingMessage): boolean {
  const hasBody = (headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding'] !== undefined;
  return !hasBody && connectionOf(socket)?.isFree === true;
}

/** node has taken its listeners off this socket. */
function refuseUpgraded(
  socket: Duplex,
  connection: NodeConnection | undefined,
  refused: UnparsedRequest,
): void {
  socket.on('error', () => socket.destroy());
  if (connection === undefined) socket.destroy();
  else connection.fail(refused);
}

function connectionOf(socket: Socket): NodeConnection | undefined {
  return (socket as OwnedSocket)[CONNECTION];
}

/** Writes out the head that node has parsed, and reads it with our own reader; null where llhttp accepts what ours refuses. */
function headOf(request: IncomingMessage, reader: RequestHeadReader): RequestHead | null {
  const { method, url, httpVersion, rawHeaders } = request;
  let text = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  const bytes = Buffer.from(`${text}\r\n`, 'latin1');
  const end = reader.read(bytes, 0, bytes.length, NO_LIMITS);
  const { head } = reader;
  reader.forget();
  return end === bytes.length ? head : null;
}

/** The status that answers a failure of the parser; null: none is sent. */
function statusOf(error: Error, connection: NodeConnection | undefined): number | null {
  const code = systemCodeOf(error);
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      // A connection that was opened in advance and never used gets no answer, as in nginx.
      return connection?.socket.bytesRead === 0 ? null : 408;
    case 'HPE_HEADER_OVERFLOW':
      return overflowStatus(error, connection);
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 413;
    case 'HPE_INVALID_VERSION':
      return 'reason' in error && error.reason === 'Invalid HTTP version' ? 505 : 400;
    default:
      return code?.startsWith('HPE_') ? 400 : null;
  }
}

/**
 * 414 where the request line is incomplete, else 431. node shows only the last read: inside a long line, a space tells a
 * field from a target.
 */
function overflowStatus(error: Error, connection: NodeConnection | undefined): number {
  if (!('rawPacket' in error) || !Buffer.isBuffer(error.rawPacket)) return 431;
  const parsedBytes = 'bytesParsed' in error ? Number(error.bytesParsed) : error.rawPacket.length;
  const read = error.rawPacket.subarray(0, parsedBytes);
  const headEnd = read.lastIndexOf('\r\n\r\n');
  const message = read.subarray(headEnd < 0 ? 0 : headEnd + 4);
  if (message.includes('\n')) return 431;
  const isBeginning = headEnd >= 0 || connection?.readSinceIdle === error.rawPacket.length;
  return isBeginning || !message.includes(' ') ? 414 : 431;
}
