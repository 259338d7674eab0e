/** A proxy made with @fastify/http-proxy (undici). `node bench/peers/fastify-proxy.mjs PORT BACKEND_PORT…` */
import { randomBytes } from 'node:crypto';
import proxy from '@fastify/http-proxy';
import fastify from 'fastify';

const [port, ...backendPorts] = process.argv.slice(2);
const targets = backendPorts.map((each) => `http://127.0.0.1:${each}`);
const idPrefix = randomBytes(6).toString('hex');
let count = 0;

const app = fastify({
  logger: false,
  bodyLimit: 2 ** 40,
  keepAliveTimeout: 75_000,
  genReqId: () => {
    count += 1;
    return idPrefix + count.toString(36);
  },
});
app.register(proxy, {
  upstream: '',
  undici: { connections: 256, pipelining: 1, keepAliveTimeout: 60_000 },
  replyOptions: {
    getUpstream: () => targets[count % targets.length],
    rewriteRequestHeaders: (request, headers) => ({
      ...headers,
      'x-forwarded-for': request.ip,
      'x-forwarded-proto': 'http',
      'x-forwarded-host': request.host,
      'x-real-ip': request.ip,
      'x-request-id': request.id,
      via: '1.1 fastify',
    }),
    rewriteHeaders: (headers, request) => ({
      ...headers,
      'x-request-id': request?.id ?? '',
      via: '1.1 fastify',
    }),
  },
});
await app.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
