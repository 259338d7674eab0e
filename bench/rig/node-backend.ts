/**
 * The backends of a bench on a machine without nginx: one process with the paths of backend.conf on every given port.
 *
 *   node bench/rig/node-backend.ts PORT…
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

const BODIES: Record<string, Buffer> = {
  '/tiny': Buffer.from('nineteen bytes here'),
  '/10k': Buffer.alloc(10 * 1024, 'x'),
  '/1m': Buffer.alloc(1024 * 1024, 'x'),
  '/upload': Buffer.from('nineteen bytes here'),
};

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { url = '' } = request;
  const body = BODIES[url.startsWith('/tiny/') ? '/tiny' : url];
  response.statusCode = body === undefined ? 404 : 200;
  response.setHeader('Content-Length', body?.length ?? 0);
  if (request.method !== 'POST') {
    response.end(body);
    return;
  }
  request.on('end', () => response.end(body));
  request.resume();
}

for (const port of process.argv.slice(2).map(Number)) {
  const server = createServer(
    { keepAliveTimeout: 0, requestTimeout: 0, optimizeEmptyRequests: true },
    answer,
  );
  server.listen(port, '127.0.0.1');
}
