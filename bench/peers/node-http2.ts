/**
 * A bare node:http2 server over TLS that answers by itself. It shows what HTTP/2 costs in Node.js without any proxying.
 * `node bench/peers/node-http2.ts CERT KEY PORT`
 */
import { readFileSync } from 'node:fs';
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

const [cert = '', key = '', port] = process.argv.slice(2);
const server = createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) });
server.on('stream', (stream: ServerHttp2Stream) => {
  stream.respond({ ':status': 200, 'content-type': 'text/plain', 'content-length': '19' });
  stream.end('nineteen bytes here');
});
// HTTP/1.1, with which the bench asks whether it serves.
server.on('unknownProtocol', (socket: Socket) => {
  socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
});
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
