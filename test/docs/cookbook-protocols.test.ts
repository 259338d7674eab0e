/** docs/cookbook: addresses of clients, TLS, WebSocket, gRPC. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createH2Server, type ServerHttp2Stream } from 'node:http2';
import { createServer as createSecureServer } from 'node:https';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { listen } from '../../test_backs/server.ts';
import { certificateFor } from './cookbook.ts';
import { checkOthers } from './other-programs.ts';
import { type RecipeOptions, serveRecipe } from './recipe.ts';

async function tlsBackend(t: TestContext): Promise<RecipeOptions> {
  const options = { ...certificateFor('app.internal'), requestCert: true, rejectUnauthorized: true };
  const server = createSecureServer(options, (request, response) => {
    response.end(`the backend saw CN=${(request.socket as TLSSocket).getPeerCertificate().subject.CN}\n`);
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  return { backends: { '10.0.0.11:8443': backend } };
}

async function chatBackend(t: TestContext): Promise<RecipeOptions> {
  const server = createServer().on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    // With a first message: curl takes an end without one for a failure.
    socket.end(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n\x81\x02hi`,
      'latin1',
    );
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  return { backends: { '10.0.0.31:8080': backend } };
}

async function grpcBackend(t: TestContext): Promise<RecipeOptions> {
  const server = createH2Server().on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.resume().on('end', () => stream.end(Buffer.alloc(5)));
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  return { backends: { '10.0.0.11:50051': backend } };
}

const RECIPES: Record<string, (t: TestContext) => RecipeOptions | Promise<RecipeOptions>> = {
  'client-address': () => ({}),
  https: () => ({}),
  'client-certificates': () => ({
    backends: {
      '10.0.0.11:8080': (request, response) => response.end(`${request.headers['x-client-cert-subject']}\n`),
    },
  }),
  'tls-to-backends': tlsBackend,
  websocket: chatBackend,
  grpc: grpcBackend,
};

for (const [name, optionsOf] of Object.entries(RECIPES))
  test(`cookbook: ${name}`, async (t) => {
    await serveRecipe(t, name, await optionsOf(t));
    await checkOthers(t, name);
  });
