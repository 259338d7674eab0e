/**
 * The backend for long bodies. /flood answers with 32 GiB, written as fast as they are read. POST /sink?mibPerSec=N reads N MiB
 * a second, with N = 0 nothing. Every other path gets a small answer. `node bench/rig/flow-backend.ts PORT`
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { pace } from './pace.ts';

const BODY_BYTES = 32 * 2 ** 30;
const PIECE = Buffer.alloc(64 * 1024, 'x');

function flood(response: ServerResponse): void {
  response.setHeader('Content-Length', BODY_BYTES);
  let left = BODY_BYTES;
  const write = () => {
    while (left > 0 && !response.destroyed) {
      left -= PIECE.length;
      if (!response.write(PIECE)) return;
    }
    if (left <= 0) response.end();
  };
  response.on('drain', write);
  write();
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://flow');
  if (url.pathname === '/flood') {
    flood(response);
  } else if (url.pathname === '/sink') {
    pace(request, Number(url.searchParams.get('mibPerSec')));
    request.on('end', () => response.end('done'));
    request.on('error', () => response.destroy());
  } else response.end('nineteen bytes here');
}

createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, answer).listen({
  port: Number(process.argv[2]),
  host: '127.0.0.1',
  backlog: 4096,
});
