/** A bare node:http server: what an idle connection costs in Node.js itself. `node bench/peers/node-http.ts PORT` */
import { createServer } from 'node:http';

createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (_, response) =>
  response.end('nineteen bytes here'),
).listen({
  port: Number(process.argv[2]),
  host: '127.0.0.1',
  backlog: 4096,
});
