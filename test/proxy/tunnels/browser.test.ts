/** A real browser: a page and its WebSocket on one connection of HTTP/2 over TLS (RFC 8441). */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { openBrowser } from '../../support/browser.ts';
import { localTls } from '../../support/tls.ts';
import { waitFor } from '../../support/wait.ts';
import { startProxy } from '../support.ts';

/** Runs in the page. */
const TALK = `new Promise((resolve, reject) => {
  const socket = new WebSocket(location.href.replace('https', 'wss'), ['chat']);
  socket.binaryType = 'arraybuffer';
  const got = [];
  socket.onerror = () => reject(new Error('error'));
  socket.onclose = ({ code }) => reject(new Error('closed ' + code));
  socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array(200000).fill(7)); };
  socket.onmessage = ({ data }) => {
    got.push(typeof data === 'string' ? data : data.byteLength);
    if (got.length < 2) return;
    socket.onclose = ({ code, wasClean }) => resolve([socket.protocol, ...got, code, wasClean]);
    socket.close(1000);
  };
})`;

test('Chromium opens a WebSocket in a stream of the HTTP/2 connection that it has', async (t) => {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>x</title>');
  });
  const sockets = new WebSocketServer({ server });
  let names: string[] = [];
  sockets.on('connection', (socket, { rawHeaders }) => {
    names = rawHeaders;
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  server.listen(0, '127.0.0.1');
  await waitFor('the backend to listen', () => server.listening);
  t.after(() => {
    for (const client of sockets.clients) client.terminate();
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as { port: number };
  const proxy = await startProxy(t, { backends: [{ port }], tls: localTls().tls });
  const browser = await openBrowser(t);
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(`https://127.0.0.1:${proxy.port}/`);
  assert.deepEqual(await page.evaluate(TALK), ['chat', 'hello', 200_000, 1000, true]);
  const lines = await waitFor('the access line of the tunnel', () =>
    proxy.lines.some(({ protocol }) => protocol === 'websocket') ? proxy.lines : null,
  );
  assert.equal(lines[0]?.protocol, 'h2');
  const line = lines.find(({ protocol }) => protocol === 'websocket');
  assert.deepEqual([line?.status, line?.reason, line?.method], [101, 'ok', 'GET']);
  // Over HTTP/2 names are in lower case, and this one is ours.
  assert.ok(names.includes('sec-websocket-key'), String(names));
});
