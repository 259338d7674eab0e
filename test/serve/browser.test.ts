/** A real browser through Sluice: HTTPS by HTTP/2 and by HTTP/1.1, and a WebSocket over TLS. */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { listen } from '../../test_backs/server.ts';
import { openBrowser } from '../support/browser.ts';
import { Authority, type Certificate } from '../support/certificates.ts';
import { startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';

const PAGE = '<!doctype html><title>behind Sluice</title>';
const TIMEOUT_MS = 30_000;
const BINARY_BYTES = 70_000;

/** Runs in the page, so it is a text. */
const IN_THE_PAGE = `(async () => {
  const body = await (await fetch('/big')).text();
  const socket = new WebSocket('wss://' + location.host + '/echo');
  socket.binaryType = 'arraybuffer';
  const next = (event) => new Promise((resolve, reject) => {
    socket['on' + event] = resolve;
    socket.onclose = ({ code }) => reject(new Error('the WebSocket was closed with ' + code));
  });
  await next('open');
  socket.send('hello');
  const { data: text } = await next('message');
  socket.send(new Uint8Array(${BINARY_BYTES}));
  const { data } = await next('message');
  const closed = new Promise((resolve) => { socket.onclose = resolve; });
  socket.close(1000);
  const { code } = await closed;
  const protocols = performance.getEntries().map(({ nextHopProtocol }) => nextHopProtocol).filter(Boolean);
  return { protocols: [...new Set(protocols)], bodyBytes: body.length, text, binaryBytes: data.byteLength, code };
})()`;

async function startBackend() {
  const server = createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end(request.url === '/big' ? 'x'.repeat(2 ** 20) : PAGE);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  return listen(server);
}

/** Makes the browser trust this certificate, beside those that it always trusts. */
function trusting({ cert }: Certificate): string {
  const publicKey = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
  const pin = createHash('sha256').update(publicKey).digest('base64');
  return `--ignore-certificate-errors-spki-list=${pin}`;
}

test('a browser gets pages by HTTP/2 and HTTP/1.1 over TLS, and talks over a WebSocket', async (t) => {
  const backend = await startBackend();
  t.after(() => backend.close());
  const certificate = new Authority().issue(['localhost', '127.0.0.1']);
  const tls = { certificates: [{ cert: certificate.certPath, key: certificate.keyPath }] };
  const sluice = await startSluice({
    config: {
      listen: [
        { address: '127.0.0.1:0', tls },
        { address: '127.0.0.1:0', tls, http2: false },
      ],
      pools: { app: { backends: [{ url: backend.url }] } },
    },
  });
  t.after(() => sluice.stop());
  // Where playwright makes the browser's profile.
  const folder = tempFolder(t);
  process.env.TMPDIR = folder;
  const browser = await openBrowser(t, [trusting(certificate)]);
  for (const [index, protocol] of ['h2', 'http/1.1'].entries()) {
    const page = await browser.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    await page.goto(`${sluice.ready.addresses[index]}/`);
    assert.equal(await page.title(), 'behind Sluice');
    const seen = await page.evaluate(IN_THE_PAGE);
    const echoed = { text: 'hello', binaryBytes: BINARY_BYTES, code: 1000 };
    assert.deepEqual(seen, { protocols: [protocol], bodyBytes: 2 ** 20, ...echoed });
    await page.close();
  }
  assert.notDeepEqual(readdirSync(folder), []);
  await browser.close();
  assert.deepEqual(readdirSync(folder), []);
});
