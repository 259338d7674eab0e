/**
 * A bare node:http server. It shows what an idle connection and a refusal cost in Node.js itself.
 * `node bench/peers/node-http.ts PORT`
 */
import { createServer } from 'node:http';
import { REFUSED_PATH } from './peer.ts';

/** The fields of a 429 of Sluice and a body of the same length; test/bench compares the two. */
const REFUSAL = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request quota exceeded","status":429,"requestId":"${'0'.repeat(33)}","violated-policies":["refusing"]}`;
const REFUSAL_FIELDS = {
  'Content-Type': 'application/problem+json',
  'X-Request-Id': '0'.repeat(33),
  'RateLimit-Policy': '"refusing";q=1;w=1',
  RateLimit: '"refusing";r=0;t=1',
  'Retry-After': '1',
  'Content-Length': String(REFUSAL.length),
};

createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
  if (request.url === REFUSED_PATH) response.writeHead(429, REFUSAL_FIELDS).end(REFUSAL);
  else response.end('nineteen bytes here');
}).listen({
  port: Number(process.argv[2]),
  host: '127.0.0.1',
  backlog: 4096,
});
