/**
 * A proxy made with http-proxy, http-proxy-3 or httpxy, which share one API. It has keep-alive to the backends and the same
 * forwarding fields as Sluice. `node bench/peers/node-proxy.mjs LIBRARY PORT BACKEND_PORT…`
 */
import { randomBytes } from 'node:crypto';
import { Agent, createServer } from 'node:http';

const [library, port, ...backendPorts] = process.argv.slice(2);
const module = await import(library);
const createProxyServer = module.createProxyServer ?? module.default.createProxyServer;
const targets = backendPorts.map((each) => `http://127.0.0.1:${each}`);
const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 1024 });
const proxy = createProxyServer({ agent, xfwd: true });
// The last argument is a response, or the socket of an upgrade.
proxy.on('error', (_, __, response) => response.destroy());

const idPrefix = randomBytes(6).toString('hex');
let count = 0;

const server = createServer({ keepAliveTimeout: 75_000, requestTimeout: 0 }, async (request, response) => {
  count += 1;
  const requestId = idPrefix + count.toString(36);
  request.headers['x-real-ip'] = request.socket.remoteAddress;
  request.headers['x-request-id'] = requestId;
  request.headers.via = `1.1 ${library}`;
  response.setHeader('X-Request-Id', requestId);
  response.setHeader('Via', `1.1 ${library}`);
  try {
    await proxy.web(request, response, { target: targets[count % targets.length] });
  } catch {
    response.destroy();
  }
});
server.on('upgrade', (request, socket, head) => {
  count += 1;
  socket.on('error', () => socket.destroy());
  proxy.ws(request, socket, head, { target: targets[count % targets.length] });
});
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
