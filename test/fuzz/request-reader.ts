/** Reads a client's bytes with node's server. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { MemorySocket, turn } from './memory-socket.ts';

export interface ReadRequest {
  method: string;
  target: string;
  version: string;
  /** Flat, as received. */
  headers: string[];
  body: string;
  trailers: string[];
  /** The body is complete. */
  complete: boolean;
}

const MAX_HEADER_BYTES = 65_536;
/** After this many turns of the event loop without news, nothing more is expected. */
const QUIET_TURNS = 3;

export class RequestReader {
  readonly #server: Server;
  readonly #found = new WeakMap<object, ReadRequest[]>();

  constructor() {
    this.#server = createServer({
      maxHeaderSize: MAX_HEADER_BYTES,
      requireHostHeader: false,
      keepAliveTimeout: 0,
    });
    const onRequest = (request: IncomingMessage, response: ServerResponse) =>
      this.#onRequest(request, response);
    this.#server.on('request', onRequest);
    this.#server.on('checkContinue', onRequest);
    this.#server.on('checkExpectation', onRequest);
    // Keeps the socket, because requests before the fault are still to be delivered.
    this.#server.on('clientError', () => undefined);
  }

  /** read returns the requests in order. Only the last may be incomplete. */
  async read(segments: readonly Buffer[]): Promise<ReadRequest[]> {
    const socket = new MemorySocket();
    const found: ReadRequest[] = [];
    this.#found.set(socket, found);
    this.#server.emit('connection', socket);
    for (const segment of segments) socket.feed(segment);
    let known = '';
    for (let quiet = 0; quiet < QUIET_TURNS; ) {
      await turn();
      const now = `${found.length} ${found.at(-1)?.complete} ${found.at(-1)?.body.length} ${socket.written.length}`;
      quiet = now === known ? quiet + 1 : 0;
      known = now;
    }
    socket.destroy();
    return found;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const read: ReadRequest = {
      method: request.method ?? '',
      target: request.url ?? '',
      version: request.httpVersion,
      headers: request.rawHeaders,
      body: '',
      trailers: [],
      complete: false,
    };
    this.#found.get(request.socket)?.push(read);
    request.on('error', () => response.destroy());
    request.on('data', (chunk: Buffer) => {
      read.body += chunk.toString('latin1');
    });
    request.on('end', () => {
      read.complete = request.complete;
      read.trailers = request.rawTrailers;
      response.end();
    });
  }
}
